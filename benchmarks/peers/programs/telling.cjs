// What both programs for Node share; the same as telling.py.
"use strict";
const fs = require("node:fs");
const readline = require("node:readline");
const { Client } = require("pg");

const TICK = 10; // milliseconds between two looks at whether jobs are still being done
const url = process.env.DATABASE_URL;
const nanoseconds = () => process.hrtime.bigint(); // the machine's monotonic clock, as Python's
const seconds = () => Number(nanoseconds()) / 1e9;
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const say = (line) => fs.writeSync(1, `${line}\n`);

class Handled {
  count = 0;
  first = null;

  some(jobs) {
    this.first ??= seconds();
    this.count += jobs;
  }

  async drained(query, limit) {
    const ended = await this.#emptied(query, limit);
    return { items: this.count, finished: ended !== null, began: this.first ?? ended, ended };
  }

  async #emptied(query, limit) {
    const until = seconds() + limit;
    const session = new Client({ connectionString: url });
    await session.connect();
    try {
      for (let seen = -1; seconds() < until; await sleep(TICK)) {
        const now = seconds();
        if (this.count === seen && (await session.query(query)).rowCount === 0) return now;
        seen = this.count;
      }
      return null;
    } finally {
      await session.end();
    }
  }
}

async function beats({ beats, shortest, longest }, commit) {
  const notes = {};
  for (let number = 0; number < beats; number++) {
    await sleep(1000 * (shortest + Math.random() * (longest - shortest)));
    await commit(number);
    notes[number] = Number(nanoseconds());
  }
  return { items: beats, finished: true, notes };
}

// `times` maps numbers to nanoseconds.
async function heard(times, { beats, seconds: limit }) {
  for (const until = seconds() + limit; times.size < beats && seconds() < until; ) await sleep(TICK);
  return { items: times.size, finished: times.size >= beats, notes: Object.fromEntries(times) };
}

// Each task returns, once it is ready, what it does (`work`) and how that is stopped (`finish`).
async function main(tasks) {
  const { work, finish } = await tasks[process.argv[2]](JSON.parse(process.argv[3]));
  const input = readline.createInterface({ input: process.stdin });
  const go = new Promise((told) => input.once("line", told).once("close", () => told("")));
  say("ready");
  if ((await go) !== "go") process.exit(1); // whoever measures is gone
  input.close();
  const before = process.cpuUsage();
  const began = seconds();
  const told = await work();
  const ended = told.ended ?? seconds();
  await finish();
  const cpu = process.cpuUsage(before);
  say(JSON.stringify({ began, notes: {}, ...told, ended, cpu: (cpu.user + cpu.system) / 1e6 }));
  process.exit(0);
}

const run = (tasks) =>
  main(tasks).catch((error) => {
    fs.writeSync(2, `${error.stack ?? error}\n`);
    process.exit(1);
  });

module.exports = { url, nanoseconds, Handled, beats, heard, run };
