// graphile-worker with the options that its documentation measures with: 24 jobs at a time, a local queue of 500,
// completions in batches without a delay.
"use strict";
const { Logger, makeWorkerUtils, run } = require("graphile-worker");
const telling = require("./telling.cjs");

const LEFT = "SELECT FROM graphile_worker._private_jobs LIMIT 1";
// One statement of add_jobs is one of PostgreSQL's arrays; the whole backlog in one would be too much memory.
const AT_ONCE = 10000;
const logger = new Logger(() => (level, message) => level === "error" && process.stderr.write(`${message}\n`));
const preset = {
  worker: {
    connectionString: telling.url,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger,
  },
};
const worker = (handle) => run({ preset, taskList: { noop: handle }, noHandleSignals: true });

telling.run({
  async prepare({ jobs }) {
    const utils = await makeWorkerUtils({ connectionString: telling.url, logger });
    async function work() {
      await utils.migrate();
      for (let from = 0; from < jobs; from += AT_ONCE) {
        const length = Math.min(AT_ONCE, jobs - from);
        await utils.addJobs(Array.from({ length }, (_, n) => ({ identifier: "noop", payload: { number: from + n } })));
      }
      return { items: jobs, finished: true };
    }
    return { work, finish: () => utils.release() };
  },

  async drain({ seconds }) {
    const handled = new telling.Handled();
    let runner;
    async function work() {
      runner = await worker(() => handled.some(1));
      return handled.drained(LEFT, seconds);
    }
    return { work, finish: () => runner.stop() };
  },

  async listen(options) {
    const times = new Map();
    const runner = await worker(({ number }) => void times.set(number, Number(telling.nanoseconds())));
    return { work: () => telling.heard(times, options), finish: () => runner.stop() };
  },

  async publish(options) {
    const utils = await makeWorkerUtils({ connectionString: telling.url, logger });
    const work = () => telling.beats(options, (number) => utils.addJob("noop", { number }));
    return { work, finish: () => utils.release() };
  },
});
