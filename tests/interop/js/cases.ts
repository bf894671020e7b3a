import { type Metadata, type ServiceError, status } from "@grpc/grpc-js";

import { type Call, check, type Connection, type Entry, type Stream } from "./connection";

const LIMIT = 4 << 20;
const CHUNK_BYTES = 64 << 10;
const MESSAGES = 10_000;
const STREAMS = 200;
const NEIGHBOURS = 20;
const ROUND_TRIPS = 100;
const SLOW_CHUNKS = 128; // 8 MiB in all: more than every window and buffer on the way
const DEADLINE_MS = 3_000;
const DEADLINE_LATEST_MS = 15_000;
const STATUS_MESSAGE = "größer: 100% of 世界, %41%zz 😀";
const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
const ECHOED: Entry[] = [
  ["echo-text", "a value, with ~ all! sorts"],
  ["echo-twice", "first"],
  ["echo-twice", "second"],
  ["echo-bytes-bin", EVERY_BYTE],
];

const text = (n: number | string) => Buffer.from(String(n));
const numbers = (count: number) => Array.from({ length: count }, (_, n) => text(n));

// So many bytes, no two neighbours the same.
function payload(size: number) {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = i % 251;
  return bytes;
}

function failing(code: number): Entry[] {
  return [["fail-code", String(code)], ["fail-message-bin", text(STATUS_MESSAGE)], ...ECHOED];
}

function checkEchoed(metadata: Metadata) {
  check(metadata.get("echo-text").join("|") === "a value, with ~ all! sorts", metadata.getMap());
  // grpc-js joins the values of a name that came twice, as HTTP allows.
  check(metadata.get("echo-twice").join(", ") === "first, second", metadata.getMap());
  check((metadata.get("echo-bytes-bin")[0] as Buffer | undefined)?.equals(EVERY_BYTE), metadata.getMap());
}

const messageOf = (size: number) => async (c: Connection) => {
  const answer = await c.unary(payload(size));
  check(answer.equals(payload(size)), answer.length);
};

async function unary(c: Connection) {
  check((await c.unary(text("one message"))).equals(text("one message")));
}

// Cancels a call that has reached some stage.
async function cancelled(c: Connection, call: Call, stream: Stream, ...outcomes: string[]) {
  stream.cancel();
  await stream.expectStatus(status.CANCELLED);
  await c.checkOutcome(call, ...(outcomes.length ? outcomes : ["cancelled"]));
}

async function checkFailed(stream: Stream, code: number) {
  const { details, metadata } = await stream.expectStatus(code);
  check(details === STATUS_MESSAGE, details);
  checkEchoed(metadata);
}

export const CASES: Record<string, (c: Connection) => Promise<void>> = {
  unary,
  async client_stream(c) {
    const answer = await c.clientStream("ClientStream", numbers(100));
    check(answer.equals(Buffer.concat(numbers(100))), answer.length);
  },
  async server_stream(c) {
    const stream = c.repeat(text("again"), c.call(["count", "100"]));
    for (let n = 0; n < 100; n++) await stream.expect(text("again"));
    await stream.expectEnd();
  },
  async bidi(c) {
    const stream = c.stream("BidiStream");
    await stream.exchange(...numbers(100));
    stream.halfClose();
    await stream.expectEnd();
  },
  message_0B: messageOf(0),
  message_1B: messageOf(1),
  message_4MiB: messageOf(LIMIT),
  async message_over_limit(c) {
    const error = await c.unary(payload(LIMIT + 1)).then(
      () => undefined,
      (error: ServiceError) => error,
    );
    check(error?.code === status.RESOURCE_EXHAUSTED, error);
    const [details] = error?.metadata.get("grpc-status-details-bin") ?? [];
    check((details as Buffer | undefined)?.includes("MESSAGE_TOO_LARGE"), error);
    await unary(c);
  },
  async bidi_10000(c) {
    const stream = c.stream("BidiStream");
    const write = async () => {
      for (const message of numbers(MESSAGES)) await stream.write(message);
      stream.halfClose();
    };
    const read = async () => {
      for (const message of numbers(MESSAGES)) await stream.expect(message);
      await stream.expectEnd();
    };
    await Promise.all([write(), read()]);
  },
  async compression(c) {
    c.compressWithGzip();
    const message = text("compressible ".repeat(10_000));
    check((await c.unary(message, "Unary", c.call(["compress", "gzip"]))).equals(message));
  },
  async deadline(c) {
    const call = c.call();
    const began = Date.now();
    const stream = c.stream("Hold", call, DEADLINE_MS);
    await stream.exchange(text("held"));
    await stream.expectStatus(status.DEADLINE_EXCEEDED);
    const tookMs = Date.now() - began;
    check(DEADLINE_MS * 0.9 < tookMs && tookMs < DEADLINE_LATEST_MS, tookMs);
    await c.checkOutcome(call, "cancelled");
  },
  async cancel_before_headers(c) {
    const call = c.call();
    await cancelled(c, call, c.stream("Hold", call), "unknown", "cancelled");
  },
  async cancel_after_headers(c) {
    const call = c.call();
    const stream = c.stream("Hold", call);
    await stream.metadata;
    await cancelled(c, call, stream);
  },
  async cancel_mid_stream(c) {
    const call = c.call();
    const stream = c.stream("Hold", call);
    await stream.exchange(text("held"), text("on"));
    await cancelled(c, call, stream);
  },
  async cancel_after_half_close(c) {
    const call = c.call();
    const stream = c.stream("Hold", call);
    await stream.exchange(text("held"));
    stream.halfClose();
    await stream.expect(text("half-closed"));
    await cancelled(c, call, stream);
  },
  async cancel_while_sending(c) {
    const call = c.call();
    const stream = c.stream("Ignore", call);
    for (let n = 0; n < SLOW_CHUNKS; n++) stream.writeLater(payload(CHUNK_BYTES));
    await stream.metadata;
    await cancelled(c, call, stream);
  },
  async cancel_while_receiving(c) {
    const call = c.call(["count", String(SLOW_CHUNKS)]);
    const stream = c.repeat(payload(CHUNK_BYTES), call);
    await stream.expect(payload(CHUNK_BYTES));
    await cancelled(c, call, stream);
  },
  async metadata(c) {
    const stream = c.stream("BidiStream", c.call(...ECHOED));
    await stream.exchange(text("with metadata"));
    checkEchoed(await stream.metadata);
    check((await stream.metadata).get("x-agentring-node").join() === "hosted");
    stream.halfClose();
    await stream.expectEnd();
    checkEchoed((await stream.status).metadata);
  },
  async status(c) {
    const stream = c.repeat(text("one answer"), c.call(...failing(status.FAILED_PRECONDITION)), "Fail");
    await stream.expect(text("one answer"));
    await checkFailed(stream, status.FAILED_PRECONDITION);
  },
  async trailers_only(c) {
    await checkFailed(c.stream("Abort", c.call(...failing(status.PERMISSION_DENIED))), status.PERMISSION_DENIED);
  },
  async slow_reader(c) {
    const slow = c.repeat(payload(CHUNK_BYTES), c.call(["count", String(SLOW_CHUNKS)]));
    await slow.expect(payload(CHUNK_BYTES));
    const neighbour = async () => {
      const stream = c.stream("BidiStream");
      await stream.exchange(...numbers(ROUND_TRIPS));
      stream.halfClose();
      await stream.expectEnd();
    };
    await Promise.all(Array.from({ length: NEIGHBOURS }, neighbour));
    for (let n = 1; n < SLOW_CHUNKS; n++) await slow.expect(payload(CHUNK_BYTES));
    await slow.expectEnd();
  },
  async many_streams(c) {
    const streams: Stream[] = [];
    for (let n = 0; n < STREAMS; n++) {
      const stream = c.stream("BidiStream");
      streams.push(stream);
      await stream.exchange(text(`stream ${n}`));
    }
    for (const stream of streams) stream.halfClose();
    for (const stream of streams) await stream.expectEnd();
  },
};
