// eventsource-parser on Node: bytes to text to events, as its users call it.
//
//     node parsing.mjs NODE_MODULES
//
// A line of its input is JSON, the pieces of a stream in base64; it answers with [events, seconds].

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const home = join(process.argv[2], "eventsource-parser");
const { exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
const entry = exports["."].import ?? exports["."].default ?? exports["."];
const { createParser } = await import(pathToFileURL(join(home, entry)));

for await (const line of createInterface({ input: process.stdin })) {
  const pieces = JSON.parse(line).map((piece) => Buffer.from(piece, "base64"));
  let found = 0;
  const start = performance.now();
  const decoder = new TextDecoder();
  const parser = createParser({ onEvent: () => found++ });
  for (const piece of pieces) parser.feed(decoder.decode(piece, { stream: true }));
  console.log(JSON.stringify([found, (performance.now() - start) / 1000]));
}
