// node pictures.js WORK OUT: the scene into a Prometheus, and a picture of each dashboard.

import { join } from 'node:path';
import { readdir } from 'node:fs/promises';

import { bundle, withCamera } from './draw.js';
import { fill, start } from './prometheus.js';
import { END, SHOWN } from './scene/world.js';

const SHOWN_SECONDS = 2 * 3600;
const DASHBOARDS = join(import.meta.dirname, '../../dashboards');
const RULES = join(import.meta.dirname, '../../alerts/*.yml');
/** What is chosen on the pages about one. */
const CHOSEN = { 'lvs-virtual-server': ['virtual_server'], 'lvs-real-server': ['real_server'] };

const [work, out] = process.argv.slice(2);
await bundle();
await fill(work, RULES);
const prometheus = await start(work, RULES);
try {
  await withCamera(prometheus.address, DASHBOARDS, { from: END - SHOWN_SECONDS, to: END }, async (take) => {
    for (const file of (await readdir(DASHBOARDS)).filter((name) => name.endsWith('.json'))) {
      const board = file.replace('.json', '');
      const chosen = Object.fromEntries((CHOSEN[board] ?? []).map((name) => [name, SHOWN[name]]));
      await take(board, join(out, `${board}.png`), chosen);
      console.log(`${board}.png`);
    }
  });
} finally {
  await prometheus.stop();
}
