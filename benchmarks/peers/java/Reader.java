import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonFactoryBuilder;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;

/**
 * Reads and checks messages with Jackson's streaming parser, which is faster than binding them to objects: only what the job
 * needs becomes a value, the rest is skipped. Times in the usual form are read by hand; the others by java.time.
 */
final class Reader {
    private static final long FUTURE = 60 * 60_000L;
    private static final JsonFactory JSON = new JsonFactoryBuilder().build();

    /** Read into `event`; false if the record is to be rejected. */
    boolean read(byte[] value, int length, long logTime, Event event) {
        String type = null;
        String name = null;
        String user = null;
        boolean hasProduct = false;
        boolean hasOrder = false;
        boolean hasId = false;
        boolean hasProperties = false;
        long time = Long.MIN_VALUE;
        try (JsonParser parser = JSON.createParser(value, 0, length)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                return false;
            }
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String field = parser.currentName();
                JsonToken token = parser.nextToken();
                switch (field) {
                    case "type":
                        type = text(parser, token);
                        break;
                    case "messageId":
                        if (token == JsonToken.VALUE_STRING) {
                            int size = parser.getTextLength();
                            hasId = size > 0 && size <= 100;
                            event.mark = hash(parser.getTextCharacters(), parser.getTextOffset(), size);
                        } else {
                            parser.skipChildren();
                        }
                        break;
                    case "userId":
                        user = text(parser, token);
                        break;
                    case "event":
                        name = text(parser, token);
                        break;
                    case "timestamp":
                        if (token != JsonToken.VALUE_STRING) {
                            return false;
                        }
                        time = millis(parser);
                        break;
                    case "properties":
                        if (token != JsonToken.START_OBJECT) {
                            return false;
                        }
                        hasProperties = true;
                        while (parser.nextToken() == JsonToken.FIELD_NAME) {
                            String property = parser.currentName();
                            JsonToken what = parser.nextToken();
                            if (property.equals("product_id")) {
                                hasProduct = what == JsonToken.VALUE_STRING && parser.getTextLength() > 0;
                            } else if (property.equals("order_id")) {
                                hasOrder = what == JsonToken.VALUE_STRING && parser.getTextLength() > 0;
                            }
                            parser.skipChildren();
                        }
                        break;
                    default:
                        parser.skipChildren();
                }
            }
            if (parser.currentToken() != JsonToken.END_OBJECT || parser.nextToken() != null) {
                return false;
            }
        } catch (IOException | DateTimeParseException broken) {
            return false;
        }
        if (!hasId || !hasProperties || !"track".equals(type) || !sized(user) || !sized(name)) {
            return false;
        }
        if (time == Long.MIN_VALUE || time > logTime + FUTURE) {
            return false;
        }
        switch (name) {
            case "Product Viewed":
                event.kind = Event.OTHER;
                if (!hasProduct) {
                    return false;
                }
                break;
            case "Product Added":
                event.kind = Event.ADDED;
                if (!hasProduct) {
                    return false;
                }
                break;
            case "Order Completed":
                event.kind = Event.ORDERED;
                if (!hasOrder) {
                    return false;
                }
                break;
            default:
                event.kind = Event.OTHER;
        }
        event.user = user;
        event.time = time;
        event.logTime = logTime;
        return true;
    }

    private static String text(JsonParser parser, JsonToken token) throws IOException {
        if (token == JsonToken.VALUE_STRING) {
            return parser.getText();
        }
        parser.skipChildren();
        return null;
    }

    private static boolean sized(String text) {
        return text != null && !text.isEmpty() && text.length() <= 255;
    }

    private static long hash(char[] text, int start, int length) {
        long hash = 0xcbf29ce484222325L;
        for (int at = start; at < start + length; at++) {
            hash = (hash ^ text[at]) * 0x100000001b3L;
        }
        hash ^= hash >>> 32;
        return hash * 0x9e3779b97f4a7c15L;
    }

    private static long millis(JsonParser parser) throws IOException {
        char[] text = parser.getTextCharacters();
        int at = parser.getTextOffset();
        if (parser.getTextLength() != 24 || text[at + 23] != 'Z' || text[at + 10] != 'T' || text[at + 19] != '.'
                || text[at + 4] != '-' || text[at + 7] != '-' || text[at + 13] != ':' || text[at + 16] != ':') {
            return OffsetDateTime.parse(parser.getText()).toInstant().toEpochMilli();
        }
        int year = number(text, at, 4);
        int month = number(text, at + 5, 2);
        int day = number(text, at + 8, 2);
        int hour = number(text, at + 11, 2);
        int minute = number(text, at + 14, 2);
        int second = number(text, at + 17, 2);
        int milli = number(text, at + 20, 3);
        if ((year | month | day | hour | minute | second | milli) < 0 || month < 1 || month > 12 || day < 1 || day > 28
                || hour > 23 || minute > 59 || second > 59) {
            return OffsetDateTime.parse(parser.getText()).toInstant().toEpochMilli();
        }
        // Days since 1970 of a date in the proleptic Gregorian calendar, with years that begin in March.
        int y = month <= 2 ? year - 1 : year;
        int era = Math.floorDiv(y, 400);
        int yearOfEra = y - era * 400;
        int dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
        long days = era * 146097L + yearOfEra * 365L + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719468;
        return ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + milli;
    }

    private static int number(char[] text, int at, int digits) {
        int number = 0;
        for (int end = at + digits; at < end; at++) {
            int digit = text[at] - '0';
            if (digit < 0 || digit > 9) {
                return Integer.MIN_VALUE;
            }
            number = number * 10 + digit;
        }
        return number;
    }
}
