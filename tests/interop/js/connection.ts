// A connection, and calls with raw bytes on it.

import { randomUUID } from "node:crypto";
import { once } from "node:events";

import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
} from "@grpc/grpc-js";

export const TIMEOUT_MS = 40_000;
const SERVICE = "/interop.v1.EchoService/";
const asIs = (message: Buffer) => message;

// [name, value] of one entry of metadata.
export type Entry = [string, string | Buffer];

// One call's metadata, and the id under which the backend knows it.
export class Call {
  readonly id = randomUUID();
  readonly metadata = new Metadata();
}

export class Stream {
  readonly status: Promise<StatusObject>;
  readonly metadata: Promise<Metadata>;
  private readonly answers: AsyncIterator<Buffer> | undefined;

  constructor(
    readonly stream:
      | ClientDuplexStream<Buffer, Buffer>
      | ClientReadableStream<Buffer>
      | ClientWritableStream<Buffer>,
  ) {
    stream.on("error", () => {}); // the status says the same
    this.status = new Promise((resolve) => stream.on("status", resolve));
    this.metadata = new Promise((resolve) => stream.on("metadata", resolve));
    this.answers = "read" in stream ? stream[Symbol.asyncIterator]() : undefined;
  }

  // Returns once there is room for more.
  async write(message: Buffer) {
    if ("write" in this.stream && !this.stream.write(message)) await once(this.stream, "drain");
  }

  // For a call that is to be cancelled: what does not fit now waits in the client.
  writeLater(message: Buffer) {
    if ("write" in this.stream) this.stream.write(message);
  }

  halfClose() {
    if ("write" in this.stream) this.stream.end();
  }

  // The next answer; undefined: the call has ended with OK. Throws another status.
  async read(): Promise<Buffer | undefined> {
    const next = await this.answers?.next();
    return next?.done ? undefined : next?.value;
  }

  async expect(message: Buffer) {
    const answer = await this.read();
    check(answer?.equals(message), answer?.length, "bytes instead of", message.length);
  }

  // Each message is echoed before the next is sent.
  async exchange(...messages: Buffer[]) {
    for (const message of messages) {
      await this.write(message);
      await this.expect(message);
    }
  }

  async expectEnd() {
    check((await this.read()) === undefined, "another answer");
    check((await this.status).code === 0, await this.status);
  }

  // Reads on until the call's end, which must be this.
  async expectStatus(code: number): Promise<StatusObject> {
    try {
      while ((await this.read()) !== undefined);
    } catch {
      // The status says the same.
    }
    const status = await this.status;
    check(status.code === code, status);
    return status;
  }

  cancel() {
    this.stream.cancel();
  }
}

export class Connection {
  private client: Client;

  constructor(
    private readonly target: string,
    private readonly session: string,
  ) {
    this.client = this.connect({});
  }

  private connect(options: ChannelOptions) {
    const local = { "grpc.use_local_subchannel_pool": 1, "grpc.max_receive_message_length": -1 };
    return new Client(this.target, credentials.createInsecure(), { ...local, ...options });
  }

  // In grpc-js compression is the connection's.
  compressWithGzip() {
    this.close();
    this.client = this.connect({ "grpc.default_compression_algorithm": 2 });
  }

  close() {
    this.client.close();
  }

  call(...more: Entry[]): Call {
    const call = new Call();
    call.metadata.set("x-session-id", this.session);
    call.metadata.set("call-id", call.id);
    for (const [name, value] of more) call.metadata.add(name, value);
    return call;
  }

  // Throws ServiceError.
  unary(message: Buffer, method = "Unary", call = this.call()): Promise<Buffer> {
    const options = { deadline: Date.now() + TIMEOUT_MS };
    return promised((done) =>
      this.client.makeUnaryRequest(SERVICE + method, asIs, asIs, message, call.metadata, options, done),
    );
  }

  // Sends the messages and returns the one answer.
  clientStream(method: string, messages: Buffer[]): Promise<Buffer> {
    const options = { deadline: Date.now() + TIMEOUT_MS };
    return promised((done) => {
      const { metadata } = this.call();
      const stream = this.client.makeClientStreamRequest(SERVICE + method, asIs, asIs, metadata, options, done);
      for (const message of messages) stream.write(message);
      stream.end();
    });
  }

  repeat(message: Buffer, call: Call, method = "ServerStream"): Stream {
    const options = { deadline: Date.now() + TIMEOUT_MS };
    return new Stream(
      this.client.makeServerStreamRequest(SERVICE + method, asIs, asIs, message, call.metadata, options),
    );
  }

  stream(method: string, call = this.call(), timeoutMs = TIMEOUT_MS): Stream {
    const options = { deadline: Date.now() + timeoutMs };
    return new Stream(this.client.makeBidiStreamRequest(SERVICE + method, asIs, asIs, call.metadata, options));
  }

  async checkOutcome(call: Call, ...expected: string[]) {
    const outcome = (await this.unary(Buffer.from(call.id), "Outcome")).toString();
    check(expected.includes(outcome), outcome);
  }
}

type Done = (error: ServiceError | null, answer?: Buffer) => void;

function promised(start: (done: Done) => unknown): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    start((error, answer) => {
      if (error || !answer) reject(error);
      else resolve(answer);
    });
  });
}

export function check(holds: boolean | undefined, ...told: unknown[]) {
  if (!holds) throw new Error(told.map((each) => (typeof each === "string" ? each : JSON.stringify(each))).join(" "));
}
