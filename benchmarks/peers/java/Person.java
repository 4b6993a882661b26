import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;

/** One person's state and the job's logic for them, see JOB.md. Times are milliseconds. */
final class Person {
    static final long NEVER = 1L << 62;
    private static final long GAP = 30 * 60_000L;
    private static final long CLOSES = GAP + 60_000L;
    private static final long WAIT = 60 * 60_000L;
    private static final int REMEMBERED = 128;

    /** A visit. */
    static final class Session {
        long start;
        long end;
        long arrived;
        int events;
    }

    /** A ring of message ids, which grows up to 128. */
    private long[] seen = new long[4];
    private int marks;
    private int oldest;
    private final ArrayList<Session> open = new ArrayList<>(1);
    private long due = NEVER;
    private long addedAt;
    private long orderedAt;
    /** When the one timer of this person is set for; 0 for none. */
    long timer;

    /** Take in an event; first what fell due before. */
    void take(Event event, Counts counts) {
        long now = event.logTime;
        wake(now, counts);
        if (isRepeat(event.mark)) {
            counts.duplicates++;
            return;
        }
        visit(event.time, now);
        if (event.kind == Event.ADDED) {
            if (due != NEVER) {
                due = now + WAIT;
                addedAt = Math.max(addedAt, event.time);
            } else if (event.time > orderedAt) {
                due = now + WAIT;
                addedAt = event.time;
            }
        } else if (event.kind == Event.ORDERED) {
            orderedAt = Math.max(orderedAt, event.time);
            if (addedAt <= event.time) {
                due = NEVER;
            }
        }
    }

    /** Do what is due before `now`. */
    void wake(long now, Counts counts) {
        if (due < now) {
            due = NEVER;
            counts.abandonments++;
        }
        for (int index = open.size() - 1; index >= 0; index--) {
            if (open.get(index).arrived + CLOSES < now) {
                open.remove(index);
                counts.sessions++;
            }
        }
    }

    /** When something is due next. */
    long next() {
        long next = due;
        for (int index = 0; index < open.size(); index++) {
            next = Math.min(next, open.get(index).arrived + CLOSES);
        }
        return next;
    }

    private boolean isRepeat(long mark) {
        for (int index = 0; index < marks; index++) {
            if (seen[index] == mark) {
                return true;
            }
        }
        if (marks == REMEMBERED) {
            seen[oldest] = mark;
            oldest = (oldest + 1) % REMEMBERED;
        } else {
            if (marks == seen.length) {
                seen = Arrays.copyOf(seen, marks * 2);
            }
            seen[marks++] = mark;
        }
        return false;
    }

    private void visit(long time, long now) {
        Session first = null;
        for (int index = 0; index < open.size(); index++) {
            Session session = open.get(index);
            if (session.start - GAP > time || time > session.end + GAP) {
                continue;
            }
            if (first == null) {
                first = session;
                first.start = Math.min(first.start, time);
                first.end = Math.max(first.end, time);
                first.arrived = now;
                first.events++;
            } else {
                first.start = Math.min(first.start, session.start);
                first.end = Math.max(first.end, session.end);
                first.events += session.events;
                open.remove(index--);
            }
        }
        if (first == null) {
            Session session = new Session();
            session.start = session.end = time;
            session.arrived = now;
            session.events = 1;
            open.add(session);
        }
    }

    /** Write the state down. */
    byte[] written() {
        ByteBuffer out = ByteBuffer.allocate(4 + marks * 8 + 4 + 4 + open.size() * 28 + 32);
        out.putInt(marks);
        for (int index = 0; index < marks; index++) {
            out.putLong(seen[index]);
        }
        out.putInt(oldest).putInt(open.size());
        for (Session session : open) {
            out.putLong(session.start).putLong(session.end).putLong(session.arrived).putInt(session.events);
        }
        out.putLong(due).putLong(addedAt).putLong(orderedAt).putLong(timer);
        return out.array();
    }

    /** Read what `written` wrote. */
    static Person read(byte[] data) {
        ByteBuffer in = ByteBuffer.wrap(data);
        Person person = new Person();
        person.marks = in.getInt();
        person.seen = new long[Math.max(4, Integer.highestOneBit(Math.max(1, person.marks - 1)) * 2)];
        for (int index = 0; index < person.marks; index++) {
            person.seen[index] = in.getLong();
        }
        person.oldest = in.getInt();
        int sessions = in.getInt();
        for (int index = 0; index < sessions; index++) {
            Session session = new Session();
            session.start = in.getLong();
            session.end = in.getLong();
            session.arrived = in.getLong();
            session.events = in.getInt();
            person.open.add(session);
        }
        person.due = in.getLong();
        person.addedAt = in.getLong();
        person.orderedAt = in.getLong();
        person.timer = in.getLong();
        return person;
    }
}
