// Runs one call of a TypeScript tool, or a piece of JavaScript, inside its jail. It reads what to run as JSON from stdin
// and answers in JSON on file descriptor 3: the length as eight bytes, then the object.

import { readFileSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import nodeModule, { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const RESULT = 3;
const call = JSON.parse(readFileSync(0, "utf8"));
globalThis.require = createRequire(`${process.cwd()}/job.mjs`);
if (call.packages) symlinkSync(`${call.packages}/node_modules`, "node_modules");

let transpiled = false;

// All of TypeScript by its own compiler where a tool asks for it, else what Node does: versions differ in how much.
function withoutTypes(source) {
  const typescript = installed("typescript");
  if (typescript) {
    transpiled = true;
    const compilerOptions = { module: "ESNext", target: "ES2022" };
    return typescript.transpileModule(source, { compilerOptions }).outputText;
  }
  if (!nodeModule.stripTypeScriptTypes) return source;
  try {
    return nodeModule.stripTypeScriptTypes(source, { mode: "transform" });
  } catch (error) {
    if (error.code !== "ERR_INVALID_ARG_VALUE") throw error;
    return nodeModule.stripTypeScriptTypes(source, { mode: "strip" });
  }
}

function installed(name) {
  try {
    return globalThis.require(name);
  } catch {
    return undefined;
  }
}

function asText(value) {
  const plain = (_, each) => (typeof each === "bigint" ? String(each) : each);
  if (typeof value === "bigint") return String(value);
  return typeof value === "string" ? value : JSON.stringify(value, plain) ?? String(value);
}

async function load(name, source) {
  writeFileSync(name, source);
  return import(pathToFileURL(`${process.cwd()}/${name}`));
}

async function ranTool() {
  process.emitWarning = () => {};
  const loaded = await load("job.mjs", `${withoutTypes(call.source)}\nexport { ${call.name} as __perdureTool };\n`);
  const values = call.parameters.map((name) => call.arguments[name]);
  while (values.length && values.at(-1) === undefined) values.pop();
  return { status: "success", text: asText(await loaded.__perdureTool(...values)) };
}

async function ranCode() {
  await load("job.mjs", call.source);
  return { status: "success", text: "" };
}

function failed(error) {
  let words = `${error?.name ?? "Error"}: ${error?.message ?? error}`;
  const unread = error?.name === "SyntaxError" && !nodeModule.stripTypeScriptTypes;
  if (call.name && !transpiled && (unread || error?.code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")) {
    words += ` (Node ${process.versions.node} cannot read that by itself: add typescript to npm_requirements)`;
  }
  console.error(error?.stack ?? words);
  return { status: "error", text: words };
}

let answer;
try {
  answer = await (call.name ? ranTool() : ranCode());
} catch (error) {
  answer = failed(error);
}
answer.text = answer.text.replace(/\p{Surrogate}/gu, "\ufffd");
const body = Buffer.from(JSON.stringify(answer));
const head = Buffer.alloc(8);
head.writeBigUInt64BE(BigInt(body.length));
let said = Buffer.concat([head, body]);
while (said.length) said = said.subarray(writeSync(RESULT, said));
process.exit(answer.status === "success" ? 0 : 1);
