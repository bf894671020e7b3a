package interop;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** A connection, and calls with raw bytes on it. */
final class Connection implements AutoCloseable {
  static final int TIMEOUT_MS = 40_000;

  private static final MethodDescriptor.Marshaller<byte[]> RAW =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] message) {
          return new ByteArrayInputStream(message);
        }

        @Override
        public byte[] parse(InputStream message) {
          try {
            return message.readAllBytes();
          } catch (IOException failure) {
            throw new UncheckedIOException(failure);
          }
        }
      };

  private final ManagedChannel channel;
  private final String session;

  Connection(String target, String session) {
    this.channel = ManagedChannelBuilder.forTarget(target).usePlaintext().maxInboundMessageSize(8 << 20).build();
    this.session = session;
  }

  @Override
  public void close() throws InterruptedException {
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
  }

  /** One call's metadata, the id under which the backend knows it, and what metadata it is answered with. */
  static final class Call {
    final String id = UUID.randomUUID().toString();
    final Metadata metadata = new Metadata();
    final AtomicReference<Metadata> initial = new AtomicReference<>();
    final AtomicReference<Metadata> trailing = new AtomicReference<>();
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(TIMEOUT_MS, TimeUnit.MILLISECONDS);

    Call with(String name, String value) {
      metadata.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value);
      return this;
    }

    Call with(String name, byte[] value) {
      metadata.put(Metadata.Key.of(name, Metadata.BINARY_BYTE_MARSHALLER), value);
      return this;
    }
  }

  Call call() {
    var call = new Call().with("x-session-id", session);
    return call.with("call-id", call.id);
  }

  byte[] unary(String method, byte[] message, Call call) {
    return ClientCalls.blockingUnaryCall(intercepted(call), method(method, MethodType.UNARY), call.options, message);
  }

  /** Sends one message, and is answered with a stream. */
  BlockingClientCall<byte[], byte[]> repeat(String method, byte[] message, Call call) {
    return ClientCalls.blockingV2ServerStreamingCall(intercepted(call), method(method, MethodType.SERVER_STREAMING), call.options, message);
  }

  BlockingClientCall<byte[], byte[]> clientStream(String method, Call call) {
    return ClientCalls.blockingClientStreamingCall(intercepted(call), method(method, MethodType.CLIENT_STREAMING), call.options);
  }

  BlockingClientCall<byte[], byte[]> stream(String method, Call call) {
    return ClientCalls.blockingBidiStreamingCall(intercepted(call), method(method, MethodType.BIDI_STREAMING), call.options);
  }

  void checkOutcome(Call of, String... expected) {
    var outcome = new String(unary("Outcome", of.id.getBytes(), call()));
    if (!List.of(expected).contains(outcome)) {
      throw new AssertionError(outcome);
    }
  }

  private static MethodDescriptor<byte[], byte[]> method(String name, MethodType type) {
    return MethodDescriptor.newBuilder(RAW, RAW).setType(type).setFullMethodName("interop.v1.EchoService/" + name)
        .build();
  }

  private Channel intercepted(Call call) {
    return ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(call.metadata),
        MetadataUtils.newCaptureMetadataInterceptor(call.initial, call.trailing));
  }
}
