/** The four figures that all contenders must agree in. One of each thread; add them up at the end. */
final class Counts {
    long sessions;
    long abandonments;
    long duplicates;
    long rejects;

    void add(Counts other) {
        sessions += other.sessions;
        abandonments += other.abandonments;
        duplicates += other.duplicates;
        rejects += other.rejects;
    }

    @Override
    public String toString() {
        return String.format(
                "{\"sessions\":%d,\"abandonments\":%d,\"duplicates\":%d,\"rejects\":%d}",
                sessions, abandonments, duplicates, rejects);
    }
}
