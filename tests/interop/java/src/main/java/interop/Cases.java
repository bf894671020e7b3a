package interop;

import static interop.Calls.bytes;
import static interop.Calls.check;
import static interop.Calls.checkEchoed;
import static interop.Calls.echoed;
import static interop.Calls.exchange;
import static interop.Calls.expect;
import static interop.Calls.expectEnd;
import static interop.Calls.expectStatus;
import static interop.Calls.failing;
import static interop.Calls.finish;
import static interop.Calls.payload;

import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.BlockingClientCall;
import interop.Connection.Call;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/** What each case does. */
final class Cases {
  interface Case {
    void run(Connection connection) throws Exception;
  }

  static final Map<String, Case> ALL = new LinkedHashMap<>();

  private static final int LIMIT = 4 << 20;
  private static final byte[] CHUNK = payload(64 << 10);
  private static final int MESSAGES = 10_000;
  private static final int STREAMS = 200;
  private static final int NEIGHBOURS = 20;
  private static final int ROUND_TRIPS = 100;
  private static final int SLOW_CHUNKS = 128; // 8 MiB in all: more than every window and buffer on the way
  private static final long DEADLINE_MS = 3_000;
  private static final long DEADLINE_LATEST_MS = 15_000;

  static {
    ALL.put("unary", Cases::unary);
    ALL.put("client_stream", Cases::clientStream);
    ALL.put("server_stream", Cases::serverStream);
    ALL.put("bidi", Cases::bidi);
    ALL.put("message_0B", c -> messageOf(0, c));
    ALL.put("message_1B", c -> messageOf(1, c));
    ALL.put("message_4MiB", c -> messageOf(LIMIT, c));
    ALL.put("message_over_limit", Cases::messageOverLimit);
    ALL.put("bidi_10000", Cases::bidi10000);
    ALL.put("compression", Cases::compression);
    ALL.put("deadline", Cases::deadline);
    ALL.put("cancel_before_headers", c -> cancelled(c, "Hold", (call, stream) -> {}, "unknown", "cancelled"));
    ALL.put("cancel_after_headers", c -> cancelled(c, "Hold", Calls::untilHeaders, "cancelled"));
    ALL.put("cancel_mid_stream", c -> cancelled(c, "Hold", (call, stream) -> exchange(stream, "held", "on"), "cancelled"));
    ALL.put("cancel_after_half_close", c -> cancelled(c, "Hold", Cases::halfClosed, "cancelled"));
    ALL.put("cancel_while_sending", c -> cancelled(c, "Ignore", Cases::sending, "cancelled"));
    ALL.put("cancel_while_receiving", Cases::cancelWhileReceiving);
    ALL.put("metadata", Cases::metadata);
    ALL.put("status", Cases::status);
    ALL.put("trailers_only", Cases::trailersOnly);
    ALL.put("slow_reader", Cases::slowReader);
    ALL.put("many_streams", Cases::manyStreams);
  }

  private Cases() {}

  private static Object[] numbers(int count) {
    return IntStream.range(0, count).boxed().toArray();
  }

  private static void unary(Connection c) {
    check(Arrays.equals(c.unary("Unary", bytes("one message"), c.call()), bytes("one message")), "another message");
  }

  private static void clientStream(Connection c) throws Exception {
    var stream = c.clientStream("ClientStream", c.call());
    var all = new ByteArrayOutputStream();
    for (Object n : numbers(100)) {
      all.write(bytes(n));
      stream.write(bytes(n));
    }
    stream.halfClose();
    expect(stream, all.toByteArray());
  }

  private static void serverStream(Connection c) throws Exception {
    var stream = c.repeat("ServerStream", bytes("again"), c.call().with("count", "100"));
    for (int n = 0; n < 100; n++) {
      expect(stream, bytes("again"));
    }
    expectEnd(stream);
  }

  private static void bidi(Connection c) throws Exception {
    var stream = c.stream("BidiStream", c.call());
    exchange(stream, numbers(100));
    finish(stream);
  }

  private static void messageOf(int size, Connection c) {
    byte[] answer = c.unary("Unary", payload(size), c.call());
    check(Arrays.equals(answer, payload(size)), answer.length);
  }

  private static void messageOverLimit(Connection c) {
    try {
      c.unary("Unary", payload(LIMIT + 1), c.call());
    } catch (StatusRuntimeException refused) {
      check(refused.getStatus().getCode() == Code.RESOURCE_EXHAUSTED, refused.getStatus());
      byte[] details =
          refused.getTrailers().get(Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER));
      check(details != null, refused.getTrailers());
      check(new String(details, StandardCharsets.ISO_8859_1).contains("MESSAGE_TOO_LARGE"), refused.getTrailers());
      unary(c);
      return;
    }
    throw new AssertionError("it went through");
  }

  private static void bidi10000(Connection c) throws Exception {
    var stream = c.stream("BidiStream", c.call());
    together(List.of(
        () -> {
          for (Object n : numbers(MESSAGES)) {
            stream.write(bytes(n));
          }
          stream.halfClose();
          return null;
        },
        () -> {
          for (Object n : numbers(MESSAGES)) {
            expect(stream, bytes(n));
          }
          expectEnd(stream);
          return null;
        }));
  }

  /** Does these at the same time. */
  private static void together(List<Callable<Void>> tasks) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(tasks.size());
    try {
      for (Future<Void> done : threads.invokeAll(tasks)) {
        done.get();
      }
    } finally {
      threads.shutdownNow();
    }
  }

  private static void compression(Connection c) {
    byte[] message = bytes("compressible ".repeat(10_000));
    Call call = c.call().with("compress", "gzip");
    call.options = call.options.withCompression("gzip");
    check(Arrays.equals(c.unary("Unary", message, call), message), "another message");
  }

  private static void deadline(Connection c) throws Exception {
    Call call = c.call();
    long began = System.nanoTime();
    call.options = call.options.withDeadlineAfter(DEADLINE_MS, TimeUnit.MILLISECONDS);
    var stream = c.stream("Hold", call);
    exchange(stream, "held");
    expectStatus(stream, Code.DEADLINE_EXCEEDED);
    long tookMs = (System.nanoTime() - began) / 1_000_000;
    check(DEADLINE_MS * 9 / 10 < tookMs && tookMs < DEADLINE_LATEST_MS, tookMs);
    c.checkOutcome(call, "cancelled");
  }

  private interface Stage {
    void reach(Call call, BlockingClientCall<byte[], byte[]> stream) throws Exception;
  }

  /** Cancels a call that has reached some stage. */
  private static void cancelled(Connection c, String method, Stage stage, String... outcomes) throws Exception {
    Call call = c.call();
    var stream = c.stream(method, call);
    stage.reach(call, stream);
    stream.cancel("the case says so", null);
    expectStatus(stream, Code.CANCELLED);
    c.checkOutcome(call, outcomes);
  }

  private static void halfClosed(Call call, BlockingClientCall<byte[], byte[]> stream) throws Exception {
    exchange(stream, "held");
    stream.halfClose();
    expect(stream, bytes("half-closed"));
  }

  private static void sending(Call call, BlockingClientCall<byte[], byte[]> stream) throws Exception {
    Calls.untilHeaders(call, stream);
    Calls.untilFull(stream, CHUNK);
  }

  private static void cancelWhileReceiving(Connection c) throws Exception {
    Call call = c.call().with("count", String.valueOf(SLOW_CHUNKS));
    var stream = c.repeat("ServerStream", CHUNK, call);
    expect(stream, CHUNK);
    stream.cancel("the case says so", null);
    expectStatus(stream, Code.CANCELLED);
    c.checkOutcome(call, "cancelled");
  }

  private static void metadata(Connection c) throws Exception {
    Call call = echoed(c.call());
    var stream = c.stream("BidiStream", call);
    exchange(stream, "with metadata");
    checkEchoed(call.initial.get());
    check(Calls.values(call.initial.get(), "x-agentring-node").equals(List.of("hosted")), call.initial.get());
    finish(stream);
    checkEchoed(call.trailing.get());
  }

  private static void status(Connection c) throws Exception {
    Call call = failing(c.call(), Code.FAILED_PRECONDITION);
    var stream = c.repeat("Fail", bytes("one answer"), call);
    expect(stream, bytes("one answer"));
    var told = expectStatus(stream, Code.FAILED_PRECONDITION);
    check(Calls.STATUS_MESSAGE.equals(told.getDescription()), told);
    checkEchoed(call.trailing.get());
  }

  private static void trailersOnly(Connection c) throws Exception {
    Call call = failing(c.call(), Code.PERMISSION_DENIED);
    var told = expectStatus(c.stream("Abort", call), Code.PERMISSION_DENIED);
    check(Calls.STATUS_MESSAGE.equals(told.getDescription()), told);
    checkEchoed(call.trailing.get());
  }

  private static void slowReader(Connection c) throws Exception {
    var slow = c.repeat("ServerStream", CHUNK, c.call().with("count", String.valueOf(SLOW_CHUNKS)));
    expect(slow, CHUNK);
    var neighbours = new ArrayList<Callable<Void>>();
    for (int i = 0; i < NEIGHBOURS; i++) {
      neighbours.add(() -> {
        var stream = c.stream("BidiStream", c.call());
        exchange(stream, numbers(ROUND_TRIPS));
        finish(stream);
        return null;
      });
    }
    together(neighbours);
    for (int n = 1; n < SLOW_CHUNKS; n++) {
      expect(slow, CHUNK);
    }
    expectEnd(slow);
  }

  private static void manyStreams(Connection c) throws Exception {
    var streams = new ArrayList<BlockingClientCall<byte[], byte[]>>();
    for (int n = 0; n < STREAMS; n++) {
      streams.add(c.stream("BidiStream", c.call()));
      exchange(streams.get(n), n);
    }
    for (var stream : streams) {
      stream.halfClose();
    }
    for (var stream : streams) {
      expectEnd(stream);
    }
  }
}
