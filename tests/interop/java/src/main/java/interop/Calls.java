package interop;

import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import interop.Connection.Call;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** What the cases do with a call, and what they look for. */
final class Calls {
  static final String STATUS_MESSAGE = "größer: 100% of 世界, %41%zz 😀";
  private static final byte[] EVERY_BYTE = payload(256, 256);

  private Calls() {}

  static byte[] bytes(Object text) {
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }

  /** So many bytes, no two neighbours the same. */
  static byte[] payload(int size) {
    return payload(size, 251);
  }

  private static byte[] payload(int size, int period) {
    byte[] bytes = new byte[size];
    for (int i = 0; i < size; i++) {
      bytes[i] = (byte) (i % period);
    }
    return bytes;
  }

  static void check(boolean holds, Object told) {
    if (!holds) {
      throw new AssertionError(told);
    }
  }

  /** Reads an answer that must be this. */
  static void expect(BlockingClientCall<byte[], byte[]> stream, byte[] message) throws Exception {
    byte[] answer = stream.read();
    check(Arrays.equals(answer, message), answer == null ? "the end" : answer.length + " bytes");
  }

  /** Each message is echoed before the next is sent. */
  static void exchange(BlockingClientCall<byte[], byte[]> stream, Object... messages) throws Exception {
    for (Object message : messages) {
      stream.write(bytes(message));
      expect(stream, bytes(message));
    }
  }

  static void expectEnd(BlockingClientCall<byte[], byte[]> stream) throws Exception {
    check(stream.read() == null, "another answer");
  }

  /** Half-closes, and reads the end. */
  static void finish(BlockingClientCall<byte[], byte[]> stream) throws Exception {
    stream.halfClose();
    expectEnd(stream);
  }

  /** Reads on until the call's end, which must be this. */
  static Status expectStatus(BlockingClientCall<byte[], byte[]> stream, Status.Code code) throws Exception {
    try {
      while (stream.read() != null) {
        // On to the end.
      }
    } catch (StatusException end) {
      check(end.getStatus().getCode() == code, end.getStatus());
      return end.getStatus();
    }
    throw new AssertionError("the call ended with OK");
  }

  static void untilHeaders(Call call, BlockingClientCall<byte[], byte[]> stream) throws Exception {
    while (call.initial.get() == null) {
      try {
        stream.read(10, TimeUnit.MILLISECONDS); // runs what has come
      } catch (TimeoutException nothingYet) {
        // Again.
      }
    }
  }

  /** Writes until the call has taken none of it for a while. */
  static void untilFull(BlockingClientCall<byte[], byte[]> stream, byte[] message) throws Exception {
    try {
      while (stream.write(message, 300, TimeUnit.MILLISECONDS)) {
        // More.
      }
    } catch (TimeoutException full) {
      return;
    }
    throw new AssertionError("the call has ended");
  }

  static Call echoed(Call call) {
    return call.with("echo-text", "a value, with ~ all! sorts").with("echo-twice", "first").with("echo-twice", "second")
        .with("echo-bytes-bin", EVERY_BYTE);
  }

  static Call failing(Call call, Status.Code code) {
    return echoed(call).with("fail-code", String.valueOf(code.value())).with("fail-message-bin", bytes(STATUS_MESSAGE));
  }

  static void checkEchoed(Metadata told) {
    check(values(told, "echo-text").equals(List.of("a value, with ~ all! sorts")), told);
    check(values(told, "echo-twice").equals(List.of("first", "second")), told);
    check(Arrays.equals(told.get(Metadata.Key.of("echo-bytes-bin", Metadata.BINARY_BYTE_MARSHALLER)), EVERY_BYTE), told);
  }

  static List<String> values(Metadata told, String name) {
    Iterable<String> found = told.getAll(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
    var values = new java.util.ArrayList<String>();
    if (found != null) {
      found.forEach(values::add);
    }
    return values;
  }
}
