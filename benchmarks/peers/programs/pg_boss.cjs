// pg-boss: jobs are fetched and completed in batches of 1000; while batches are full, the worker is notified, so that it
// does not wait for its polling interval (half a second: the shortest there is).
"use strict";
const PgBoss = require("pg-boss");
const telling = require("./telling.cjs");

const QUEUE = "noop";
const LEFT = `SELECT FROM pgboss.job WHERE name = '${QUEUE}' AND state < 'completed' LIMIT 1`;
const AT_ONCE = 1000;
const OPTIONS = { batchSize: AT_ONCE, pollingIntervalSeconds: 0.5 };

async function started() {
  const boss = new PgBoss({ connectionString: telling.url, supervise: false, schedule: false });
  boss.on("error", (error) => process.stderr.write(`${error.stack}\n`));
  await boss.start();
  return boss;
}

telling.run({
  async prepare({ jobs }) {
    const boss = await started();
    async function work() {
      await boss.createQueue(QUEUE);
      for (let from = 0; from < jobs; from += AT_ONCE) {
        const length = Math.min(AT_ONCE, jobs - from);
        await boss.insert(Array.from({ length }, (_, n) => ({ name: QUEUE, data: { number: from + n } })));
      }
      return { items: jobs, finished: true };
    }
    return { work, finish: () => boss.stop() };
  },

  async drain({ seconds }) {
    const boss = await started();
    const handled = new telling.Handled();
    async function work() {
      let worker = null;
      worker = await boss.work(QUEUE, OPTIONS, async (jobs) => {
        handled.some(jobs.length);
        if (jobs.length === AT_ONCE && worker) boss.notifyWorker(worker);
      });
      return handled.drained(LEFT, seconds);
    }
    return { work, finish: () => boss.stop() };
  },

  async listen(options) {
    const boss = await started();
    const times = new Map();
    await boss.work(QUEUE, OPTIONS, async (jobs) => {
      for (const { data } of jobs) times.set(data.number, Number(telling.nanoseconds()));
    });
    return { work: () => telling.heard(times, options), finish: () => boss.stop({ graceful: false }) };
  },

  async publish(options) {
    const boss = await started();
    const work = () => telling.beats(options, (number) => boss.send(QUEUE, { number }));
    return { work, finish: () => boss.stop() };
  },
});
