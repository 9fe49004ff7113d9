// The part both npm SDK workers share; the protocol is that of loop.py.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

/** Loads the SDK installed under the folder given as the first argument. */
export const sdk = createRequire(`${process.argv[2]}/package.json`)("@letta-ai/letta-client");

/** Carries out commands from standard input until it closes. `connect` makes a client of a base URL, once each. */
export async function serve(connect, operations) {
  const clients = new Map();
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, op, url, args } = JSON.parse(line);
    const write = (kind, value) => process.stdout.write(JSON.stringify({ id, [kind]: value ?? null }) + "\n");
    try {
      if (!clients.has(url)) clients.set(url, connect(url));
      for await (const item of await operations[op](clients.get(url), args)) write("item", described(item));
      write("end");
    } catch (error) {
      console.error(error);
      write("error", failure(error));
    }
  }
}

/** A complete answer in the order a stream would bring it. */
export function answered(response, stopReason) {
  return [...response.messages, response[stopReason], response.usage];
}

/** Calls the method that lies at a dotted `path` with the arguments `of`. */
export async function method(client, { path, of = [] }) {
  const names = path.split(".");
  const last = names.pop();
  const owner = names.reduce((found, name) => found[name], client);
  const result = await owner[last](...of);
  return Array.isArray(result) || result?.[Symbol.asyncIterator] ? result : [result];
}

function described(item) {
  const isObject = item !== null && typeof item === "object";
  return {
    class: item?.constructor?.name ?? String(item),
    keys: isObject ? Object.keys(item) : [],
    fields: item ?? null,
    nested: {},
  };
}

function failure(error) {
  const bases = [];
  for (let type = error.constructor; type?.name; type = Object.getPrototypeOf(type)) bases.push(type.name);
  return {
    class: error.constructor.name,
    bases,
    status: error.statusCode ?? error.status ?? null,
    body: error.body ?? error.error ?? null,
    text: String(error.message),
  };
}
