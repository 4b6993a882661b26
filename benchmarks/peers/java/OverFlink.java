import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.SimpleStreamFormat;
import org.apache.flink.connector.file.src.reader.StreamFormat;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * The job in Flink: files, decoding chained to the source, keyBy user, a KeyedProcessFunction with one timer per person on the
 * heap state backend, object reuse, no checkpoints. Append time is what Flink calls event time, so its timers run on it.
 *
 * <p>Arguments: see asked.py; --chained true (parallelism 1 only) spares the exchange between decoding and state, by telling
 * Flink that the stream is keyed already.
 */
public final class OverFlink {
    private static final long START = 1_767_225_600_000L;
    private static final long STEP = 50;

    /** A line with its append time. */
    public static final class Line {
        public byte[] value;
        public int length;
        public long logTime;
    }

    /** Reads a file's lines as bytes, and counts them. */
    private static final class Lines extends SimpleStreamFormat<Line> {
        private final long step;

        Lines(long step) {
            this.step = step;
        }

        @Override
        public StreamFormat.Reader<Line> createReader(Configuration configuration, FSDataInputStream stream) {
            return new LineReader(stream, step);
        }

        @Override
        public TypeInformation<Line> getProducedType() {
            return TypeInformation.of(Line.class);
        }
    }

    private static final class LineReader implements StreamFormat.Reader<Line> {
        private final InputStream stream;
        private final long step;
        private final byte[] buffer = new byte[1 << 18];
        private int at;
        private int filled;
        private long number;

        LineReader(InputStream stream, long step) {
            this.stream = stream;
            this.step = step;
        }

        @Override
        public Line read() throws IOException {
            int end = at;
            while (true) {
                while (end < filled && buffer[end] != '\n') {
                    end++;
                }
                if (end < filled) {
                    break;
                }
                System.arraycopy(buffer, at, buffer, 0, filled - at);
                end -= at;
                filled -= at;
                at = 0;
                int more = stream.read(buffer, filled, buffer.length - filled);
                if (more <= 0) {
                    return null;
                }
                filled += more;
            }
            Line line = new Line();
            line.length = end - at;
            line.value = java.util.Arrays.copyOfRange(buffer, at, end);
            line.logTime = START + number++ * step;
            at = end + 1;
            return line;
        }

        @Override
        public void close() throws IOException {
            stream.close();
        }
    }

    private static final class Decode extends RichFlatMapFunction<Line, Event> {
        private transient Reader reader;
        private transient Event event;
        private final LongCounter rejects = new LongCounter();

        @Override
        public void open(OpenContext context) {
            reader = new Reader();
            event = new Event();
            getRuntimeContext().addAccumulator("rejects", rejects);
        }

        @Override
        public void flatMap(Line line, Collector<Event> out) {
            if (reader.read(line.value, line.length, line.logTime, event)) {
                out.collect(event);
            } else {
                rejects.add(1);
            }
        }
    }

    private static final class Job extends KeyedProcessFunction<String, Event, Void> {
        private transient ValueState<Person> people;
        private transient Counts counts;
        private final LongCounter sessions = new LongCounter();
        private final LongCounter abandonments = new LongCounter();
        private final LongCounter duplicates = new LongCounter();

        @Override
        public void open(OpenContext context) {
            counts = new Counts();
            people = getRuntimeContext().getState(new ValueStateDescriptor<>("person", Person.class));
            getRuntimeContext().addAccumulator("sessions", sessions);
            getRuntimeContext().addAccumulator("abandonments", abandonments);
            getRuntimeContext().addAccumulator("duplicates", duplicates);
        }

        @Override
        public void processElement(Event event, Context context, Collector<Void> out) throws IOException {
            Person person = people.value();
            if (person == null) {
                person = new Person();
                people.update(person);
            }
            person.take(event, counts);
            if (person.timer == 0) {
                arm(person, context);
            }
        }

        @Override
        public void onTimer(long at, OnTimerContext context, Collector<Void> out) throws IOException {
            Person person = people.value();
            person.wake(at + 1, counts);
            arm(person, context);
        }

        private void arm(Person person, Context context) {
            long next = person.next();
            person.timer = next == Person.NEVER ? 0 : next;
            if (person.timer != 0) {
                context.timerService().registerEventTimeTimer(next);
            }
        }

        @Override
        public void close() {
            sessions.add(counts.sessions);
            abandonments.add(counts.abandonments);
            duplicates.add(counts.duplicates);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, List<String>> asked = new HashMap<>();
        List<String> values = new ArrayList<>();
        for (String argument : arguments) {
            if (argument.startsWith("--")) {
                asked.put(argument, values = new ArrayList<>());
            } else {
                values.add(argument);
            }
        }
        int partitions = Integer.parseInt(asked.get("--partitions").get(0));
        Configuration configuration = new Configuration();
        configuration.setString("state.backend.type", "hashmap");
        configuration.setString("pipeline.object-reuse", "true");
        configuration.setString("pipeline.generic-types", "true");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(partitions);
        Path[] files = asked.get("--files").stream().map(Path::new).toArray(Path[]::new);
        WatermarkStrategy<Line> appended =
                WatermarkStrategy.<Line>forMonotonousTimestamps().withTimestampAssigner((line, previous) -> line.logTime);
        DataStream<Event> events = environment
                .fromSource(FileSource.forRecordStreamFormat(new Lines(STEP * partitions), files).build(), appended, "events")
                .flatMap(new Decode())
                .returns(Event.class);
        KeyedStream<Event, String> keyed = asked.containsKey("--chained")
                ? DataStreamUtils.reinterpretAsKeyedStream(events, event -> event.user, TypeInformation.of(String.class))
                : events.keyBy(event -> event.user);
        keyed.process(new Job()).returns(Void.class).sinkTo(new org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink<>());
        JobExecutionResult result = environment.execute();
        System.out.println(String.format(
                "{\"sessions\":%d,\"abandonments\":%d,\"duplicates\":%d,\"rejects\":%d}",
                result.<Long>getAccumulatorResult("sessions"),
                result.<Long>getAccumulatorResult("abandonments"),
                result.<Long>getAccumulatorResult("duplicates"),
                result.<Long>getAccumulatorResult("rejects")));
    }
}
