// Speaks with a cluster as a user's program would: `node client.js host:port name`. Prints what it received as one line
// of JSON, for test_grpc_js.py to judge. `name` keeps its session and its task apart from others'.

import { credentials, type ServiceError } from "@grpc/grpc-js";

import {
  ConverseRequest,
  type ConverseResponse,
  type Event,
  OnBusy,
  RunTurnRequest,
  SessionServiceClient,
  Turn,
} from "./gen/agentring/v1/session";
import { dispositionToJSON, OnDuplicate, RunTaskRequest, type RunTaskResponse, TaskServiceClient } from "./gen/agentring/v1/task";
import { ErrorInfo } from "./gen/google/rpc/error_details";
import { Status } from "./gen/google/rpc/status";

const DEADLINE_MS = 20_000;

// By fromPartial: what a request leaves out has its default, as what later releases add.
function turn(turnId: string, text: string): Turn {
  return Turn.fromPartial({ turnId, input: { text }, onBusy: OnBusy.ON_BUSY_ENQUEUE });
}

function runTurnRequest(sessionId: string, agent: string, turn: Turn): RunTurnRequest {
  return RunTurnRequest.fromPartial({ sessionId, agent, turn });
}

function options() {
  return { deadline: Date.now() + DEADLINE_MS };
}

// What a turn or a task came to, from its events.
function outcome(events: Event[]) {
  let text = "";
  let result: unknown;
  for (const { body } of events) {
    if (body?.$case === "textDelta") text += body.value.text;
    if (body?.$case === "turnCompleted") result = body.value.result;
  }
  const epochs = new Set(events.map((event) => event.epoch.toString()));
  return { text, result, kinds: events.map((event) => event.body?.$case), epochs: [...epochs] };
}

// One stream with two turns; the second is sent once the first has ended.
async function converse(client: SessionServiceClient, sessionId: string) {
  const stream = client.converse(options());
  const events: Event[] = [];
  let last: ConverseResponse | undefined;
  stream.write(ConverseRequest.fromPartial({ frame: { $case: "open", value: { sessionId, agent: "assistant" } } }));
  stream.write({ frame: { $case: "turn", value: turn("first", "my name is Ada") } });
  for await (const response of stream as AsyncIterable<ConverseResponse>) {
    last = response;
    events.push(...response.events);
    if (response.events.some((event) => event.turnId === "first" && event.body?.$case === "turnCompleted")) {
      stream.write({ frame: { $case: "turn", value: turn("second", "what is my name?") } });
      stream.end();
    }
  }
  const of = (turnId: string) => outcome(events.filter((event) => event.turnId === turnId));
  return {
    opened: events[0]?.body?.$case === "opened" ? events[0].body.value.sessionId : undefined,
    first: of("first"),
    second: of("second"),
    throughSeq: Number(last?.throughSeq),
    headSeq: Number(events.at(-1)?.seq),
    ackedFrame: Number(last?.ackedFrame),
  };
}

async function runTurn(client: SessionServiceClient, sessionId: string) {
  const events: Event[] = [];
  const stream = client.runTurn(runTurnRequest(sessionId, "", turn("third", "what is my name?")), options());
  for await (const response of stream) events.push(...response.events);
  return outcome(events);
}

async function runTask(client: TaskServiceClient, taskKey: string) {
  const responses: RunTaskResponse[] = [];
  const request = RunTaskRequest.fromPartial({
    taskKey,
    agent: "echo",
    input: { data: { tokens: 20, rate: 20 } },
    onDuplicate: OnDuplicate.ON_DUPLICATE_JOIN,
  });
  for await (const response of client.runTask(request, options())) responses.push(response);
  const first = responses[0]?.disposition ?? -1;
  return { disposition: dispositionToJSON(first), ...outcome(responses.flatMap((response) => response.events)) };
}

// The error of a call that must fail, with what its one ErrorInfo says.
async function refusal(client: SessionServiceClient, sessionId: string, agent: string) {
  try {
    for await (const _ of client.runTurn(runTurnRequest(sessionId, agent, turn("fourth", "hi")), options()));
  } catch (error) {
    const { code, details, metadata } = error as ServiceError;
    const [packed] = metadata.get("grpc-status-details-bin");
    const status = Status.decode(packed as Buffer);
    const infos = status.details.filter((detail) => detail.typeUrl.endsWith("/google.rpc.ErrorInfo"));
    return { code, details, infos: infos.map((detail) => ErrorInfo.decode(detail.value)) };
  }
  return undefined;
}

async function main(address: string, name: string) {
  const sessions = new SessionServiceClient(address, credentials.createInsecure());
  const tasks = new TaskServiceClient(address, credentials.createInsecure());
  try {
    const received = {
      converse: await converse(sessions, name),
      runTurn: await runTurn(sessions, name),
      tasks: await Promise.all(Array.from({ length: 5 }, () => runTask(tasks, name))),
      mismatch: await refusal(sessions, name, "echo"),
      unknown: await refusal(sessions, `${name}-new`, "nobody"),
    };
    console.log(JSON.stringify(received));
  } finally {
    sessions.close();
    tasks.close();
  }
}

const [address, name] = process.argv.slice(2);
if (!address || !name) throw new Error("usage: client.js host:port name");
void main(address, name);
