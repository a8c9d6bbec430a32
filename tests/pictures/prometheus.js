// A Prometheus that holds the scene, and the alerts that the rules make of it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { END, SCRAPE_INTERVAL, START } from './scene/world.js';
import { writeHours, writeRows, writeWeeks } from './scene/write.js';

const DEADLINE = 120_000;

/** A directory with everything that happened. */
export async function fill(directory, rules) {
  await mkdir(directory, { recursive: true });
  const text = join(directory, 'text');
  for (const write of [writeHours, writeWeeks]) {
    await write(text);
    await importText(directory, text);
  }
  const prometheus = await start(directory, rules);
  const firing = await alerts(prometheus.address);
  await prometheus.stop();
  await writeRows(text, firing);
  await importText(directory, text);
  await rm(text);
}

export async function start(directory, rules) {
  const configuration = join(directory, 'prometheus.yml');
  // Loaded, so that Prometheus says what is in them; never evaluated for the present, which is not in the scene.
  await writeFile(configuration, `global: { evaluation_interval: 1d }\nrule_files: [${JSON.stringify(rules)}]\n`);
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawn('prometheus', [
    `--config.file=${configuration}`, `--storage.tsdb.path=${join(directory, 'data')}`, '--storage.tsdb.retention.time=100y',
    `--web.listen-address=${address}`, '--log.level=error',
    // What is imported has no marks where a series ends; one that misses a scrape has ended.
    `--query.lookback-delta=${SCRAPE_INTERVAL + 5}s`,
  ], { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill();
    await ended;
  };
  for (const deadline = Date.now() + DEADLINE; ; ) {
    const ready = await fetch(`http://${address}/-/ready`).then((answer) => answer.ok, () => false);
    if (ready) return { address, stop };
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('Prometheus does not start');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Every rule asked for every moment, with its `for` and `keep_firing_for`, as Prometheus would have done then. */
async function alerts(address) {
  const get = async (path) => (await fetch(`http://${address}/api/v1/${path}`).then((answer) => answer.json())).data;
  const rules = (await get('rules?type=alert')).groups.flatMap((group) => group.rules);
  const found = [];
  for (const rule of rules) {
    const asked = new URLSearchParams({ query: rule.query, start: START, end: END, step: SCRAPE_INTERVAL });
    for (const { metric, values } of (await get(`query_range?${asked}`)).result) {
      const { __name__, ...labels } = metric;
      const row = { __name__: 'ALERTS', ...labels, ...rule.labels, alertname: rule.name };
      for (const { time, state } of states(rule, values.map(([time]) => time))) found.push({ labels: { ...row, alertstate: state }, time });
    }
  }
  return found;
}

function* states(rule, times) {
  const true_ = new Set(times);
  let since, last;
  for (let time = START; time <= END; time += SCRAPE_INTERVAL) {
    const fired = since !== undefined && last - since >= rule.duration;
    if (true_.has(time)) {
      since ??= time;
      last = time;
    } else if (!fired || time - last > (rule.keepFiringFor ?? 0)) {
      since = undefined;
      continue;
    }
    yield { time, state: last - since >= rule.duration ? 'firing' : 'pending' };
  }
}

async function importText(directory, text) {
  const child = spawn('promtool', ['tsdb', 'create-blocks-from', 'openmetrics', '--quiet', text, join(directory, 'data')], { stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`promtool does not import ${text}`);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
