// Writes what Prometheus would have scraped, in the form in which promtool imports it.

import { createWriteStream } from 'node:fs';
import { once } from 'node:events';

import { Agent } from './agents.js';
import { Servers } from './servers.js';
import { DAY, DIRECTORS, END, SCRAPE_INTERVAL, START, VIRTUAL_SERVERS, answers, demand } from './world.js';

const JOB = 'lvs-agent';
const WEEKS_STEP = 1200;

/** The hours that are shown, in full. */
export async function writeHours(file) {
  const out = new Lines(file);
  const directors = DIRECTORS.map((_, at) => {
    const servers = new Servers(at);
    return { servers, agent: new Agent(at, servers) };
  });
  for (let time = START; time <= END; time += SCRAPE_INTERVAL) {
    for (const [at, { servers, agent }] of directors.entries()) {
      servers.step(time, SCRAPE_INTERVAL);
      agent.step(time, SCRAPE_INTERVAL);
      const put = (name, labels, value) => out.add(name, { job: JOB, instance: DIRECTORS[at].instance, ...labels }, value, time);
      if (answers(at, time)) {
        servers.write(put, time);
        agent.write(put, time);
      } else {
        put('up', {}, 0);
      }
    }
    await out.flush();
  }
  await out.end();
}

/** Of the five weeks before only how many connections there were. */
export async function writeWeeks(file) {
  const out = new Lines(file);
  const counted = new Map(VIRTUAL_SERVERS.map((service) => [service, 0]));
  const before = DIRECTORS.find((director) => director.active(START));
  const first = START - 36 * DAY;
  const dense = START - 3600;
  // Dense where what is shown looks back to: the mean of an hour.
  const times = [...every(WEEKS_STEP, first, dense), ...every(4 * SCRAPE_INTERVAL, dense, START)];
  let last = first;
  for (const time of times) {
    let all = 0;
    for (const [service, sofar] of counted) {
      const now = sofar + service.clients * demand(time) * (time - last);
      counted.set(service, now);
      all += now;
      const labels = { job: JOB, instance: before.instance, virtual_server: service.id };
      out.add('ipvs_virtual_server_connections_total', labels, Math.round(now), time);
    }
    out.add('ipvs_connections_total', { job: JOB, instance: before.instance }, Math.round(all), time);
    last = time;
    await out.flush();
  }
  await out.end();
}

function every(step, from, until) {
  return Array.from({ length: (until - from) / step }, (_, at) => from + at * step);
}

/** Rows that are known already. */
export async function writeRows(file, rows) {
  const out = new Lines(file);
  for (const { labels: { __name__, ...labels }, time } of rows) out.add(__name__, labels, 1, time);
  await out.end();
}

class Lines {
  constructor(file) {
    this.stream = createWriteStream(file);
    this.lines = [];
  }

  add(name, labels, value, time) {
    const text = Object.entries(labels).map(([label, of]) => `${label}="${of}"`);
    this.lines.push(`${name}{${text.join(',')}} ${value} ${time}\n`);
  }

  async flush() {
    const text = this.lines.join('');
    this.lines = [];
    if (!this.stream.write(text)) await once(this.stream, 'drain');
  }

  async end() {
    this.lines.push('# EOF\n');
    await this.flush();
    this.stream.end();
    await once(this.stream, 'finish');
  }
}
