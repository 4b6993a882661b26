import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The job in Kafka Streams, by the Processor API: one store of people, in memory or in RocksDB (with a cache of 256 MB, and no
 * changelog, since no contender writes its state down). The timers are a heap per task, with one entry per person.
 *
 * <p>Arguments: see asked.py, and --store memory|rocksdb and --folder PATH.
 */
public final class OverKafkaStreams {
    private static final long START = 1_767_225_600_000L;
    private static final long STEP = 50;
    private static final AtomicLong LEFT = new AtomicLong();
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static final List<JobProcessor> PROCESSORS = new ArrayList<>();

    private record Wake(long due, String user) {}

    private static final class JobProcessor extends ContextualProcessor<byte[], byte[], Void, Void> {
        final Counts counts = new Counts();
        private final long step;
        private final Reader reader = new Reader();
        private final Event event = new Event();
        private final PriorityQueue<Wake> wakes = new PriorityQueue<>((a, b) -> Long.compare(a.due, b.due));
        private KeyValueStore<String, Person> people;
        private long unreported;

        JobProcessor(int partitions) {
            step = STEP * partitions;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            super.init(context);
            people = context.getStateStore("people");
            synchronized (PROCESSORS) {
                PROCESSORS.add(this);
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            long now = START + context().recordMetadata().orElseThrow().offset() * step;
            while (!wakes.isEmpty() && wakes.peek().due < now) {
                String user = wakes.poll().user;
                Person person = people.get(user);
                person.wake(now, counts);
                arm(person, user);
                people.put(user, person);
            }
            if (reader.read(record.value(), record.value().length, now, event)) {
                Person person = people.get(event.user);
                if (person == null) {
                    person = new Person();
                }
                person.take(event, counts);
                if (person.timer == 0) {
                    arm(person, event.user);
                }
                people.put(event.user, person);
            } else {
                counts.rejects++;
            }
            if (++unreported == 1000 || LEFT.get() - unreported <= 1000) {
                if (LEFT.addAndGet(-unreported) <= 0) {
                    finish();
                    DONE.countDown();
                }
                unreported = 0;
            }
        }

        private void arm(Person person, String user) {
            long next = person.next();
            person.timer = next == Person.NEVER ? 0 : next;
            if (person.timer != 0) {
                wakes.add(new Wake(next, user));
            }
        }

        /** What is open at the end counts. */
        private void finish() {
            synchronized (PROCESSORS) {
                for (JobProcessor processor : PROCESSORS) {
                    try (KeyValueIterator<String, Person> all = processor.people.all()) {
                        while (all.hasNext()) {
                            all.next().value.wake(Person.NEVER, processor.counts);
                        }
                    }
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> asked = new HashMap<>();
        for (int index = 0; index < arguments.length; index += 2) {
            asked.put(arguments[index], arguments[index + 1]);
        }
        int partitions = Integer.parseInt(asked.getOrDefault("--partitions", "1"));
        LEFT.set(Long.parseLong(asked.get("--events")));
        Serde<Person> written = Serdes.serdeFrom(
                (topic, person) -> person == null ? null : person.written(),
                (Deserializer<Person>) (topic, data) -> data == null ? null : Person.read(data));
        boolean inMemory = asked.getOrDefault("--store", "memory").equals("memory");
        StoreBuilder<KeyValueStore<String, Person>> store = Stores.keyValueStoreBuilder(
                inMemory ? Stores.inMemoryKeyValueStore("people") : Stores.persistentKeyValueStore("people"),
                Serdes.String(),
                written).withLoggingDisabled();
        store = inMemory ? store.withCachingDisabled() : store.withCachingEnabled();
        Topology topology = new Topology();
        topology.addSource("events", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), asked.get("--topic"));
        topology.addProcessor("job", () -> new JobProcessor(partitions), "events");
        topology.addStateStore(store, "job");
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-" + System.nanoTime());
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, asked.get("--kafka"));
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, partitions);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, asked.get("--folder"));
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L * 1024 * 1024);
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.poll.records", 5000);
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        DONE.await();
        Counts counts = new Counts();
        for (JobProcessor processor : PROCESSORS) {
            counts.add(processor.counts);
        }
        System.out.println(counts);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
