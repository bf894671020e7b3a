// The cases with grpc-js. Started with --target host:port --session id, it reads the names of cases from its standard
// input, one a line, and answers each with a line of JSON; the line "?" is answered with the names of its cases.

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { CASES } from "./cases";
import { Connection } from "./connection";

async function run(name: string, target: string, session: string) {
  const connection = new Connection(target, session);
  try {
    await CASES[name]?.(connection);
    return { ok: name in CASES, detail: "" };
  } catch (error) {
    return { ok: false, detail: error instanceof Error ? error.stack : String(error) };
  } finally {
    connection.close();
  }
}

async function main() {
  const options = { target: { type: "string" }, session: { type: "string" } } as const;
  const { target = "", session = "" } = parseArgs({ options }).values;
  for await (const name of createInterface(process.stdin)) {
    const told = name === "?" ? { cases: Object.keys(CASES) } : await run(name, target, session);
    console.log(JSON.stringify({ case: name, ...told }));
  }
}

void main();
