/** What the job reads of a message. Times are milliseconds. A POJO, so that Flink writes it without Kryo. */
public final class Event {
    public static final int OTHER = 0;
    public static final int ADDED = 1;
    public static final int ORDERED = 2;

    public String user;
    /** A 64-bit hash of the message id. */
    public long mark;
    public int kind;
    public long time;
    public long logTime;

    public Event() {}
}
