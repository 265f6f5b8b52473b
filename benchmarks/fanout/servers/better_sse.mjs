// better-sse on Node: a channel that all sessions are registered with.
//
//     node --expose-gc better_sse.mjs PORT NODE_MODULES
//
// It speaks what all servers here speak: see server.py.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setImmediate, setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const LIFETIME = 900_000;
const PAUSE = 5;
const [port, modules] = process.argv.slice(2);
const home = join(modules, "better-sse");
const { version, exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
const { createChannel, createSession } = await import(pathToFileURL(join(home, exports["."].import)));

globalThis.setTimeout(() => process.exit(1), LIFETIME).unref();

const channel = createChannel();
const server = createServer(async (request, response) => {
  channel.register(await createSession(request, response));
});

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

function publish(number) {
  const now = process.hrtime.bigint().toString().padStart(20, "0");
  channel.broadcast(`@${now}#${String(number).padStart(10, "0")}`.padEnd(100, "."), "message");
}

const commands = {
  async publish(count, many) {
    let paused = 0;
    for (let number = 0; number < count; number++) {
      publish(number);
      await setImmediate();
      if (number % many === many - 1) {
        const start = performance.now();
        await setTimeout(PAUSE);
        paused += (performance.now() - start) / 1000;
      }
    }
    return { paused };
  },
  async burst(count) {
    for (let number = 0; number < count; number++) publish(number);
  },
  async pace(rate, seconds) {
    const start = performance.now();
    for (let number = 0; number < rate * seconds; number++) {
      await setTimeout(Math.max(0, start + (number * 1000) / rate - performance.now()));
      publish(number);
    }
  },
  async collect() {
    globalThis.gc();
  },
};

server.listen({ port, host: "127.0.0.1", backlog: 1024 }, async () => {
  say({ port: server.address().port, pid: process.pid, version: `better-sse ${version}, Node ${process.version}` });
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...words] = line.split(" ");
    const answer = await commands[name](...words.map(Number));
    say({ done: true, ...answer });
  }
  process.exit(0);
});
