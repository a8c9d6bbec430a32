// Serves the page, its dashboards and a Prometheus on loopback, and takes the pictures with a headless Chromium.

import { createReadStream } from 'node:fs';
import { createServer, request } from 'node:http';
import { once } from 'node:events';
import { join, normalize } from 'node:path';
import { build } from 'esbuild';
import puppeteer from 'puppeteer-core';

const HERE = import.meta.dirname;
const WIDTH = 1600;
const DEADLINE = 120_000;
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', json: 'application/json', svg: 'image/svg+xml', woff2: 'font/woff2' };

export async function bundle() {
  await build({
    entryPoints: [join(HERE, 'page/main.jsx')], outfile: join(HERE, 'build/page.js'), bundle: true, minify: true, jsx: 'automatic', logLevel: 'warning',
    loader: { '.svg': 'dataurl', '.woff2': 'dataurl', '.png': 'dataurl', '.ttf': 'empty' }, define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  });
}

/** One server for as long as `take` uses it: take(board, file, variables). */
export async function withCamera(prometheus, dashboards, range, use) {
  const server = createServer((asked, answer) => serve(asked, answer, prometheus, dashboards)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', env: { ...process.env, TZ: 'UTC' },
    args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none', '--hide-scrollbars', '--lang=en'],
  });
  try {
    await use((board, file, variables) => take(browser, `http://127.0.0.1:${server.address().port}`, board, file, variables, range));
  } finally {
    await browser.close();
    server.close();
  }
}

async function take(browser, origin, board, file, variables, { from, to }) {
  const page = await browser.newPage();
  page.on('console', (message) => process.env.VERBOSE && console.log(message.type(), message.text()));
  await page.setViewport({ width: WIDTH, height: 1000 });
  // "3 minutes ago" is said of the scene's end.
  await page.evaluateOnNewDocument((now) => (Date.now = () => now), to * 1000);
  const chosen = Object.entries(variables).map(([name, value]) => [`var-${name}`, value]);
  await page.goto(`${origin}/?${new URLSearchParams([['board', board], ['from', from], ['to', to], ...chosen])}`);
  await page.waitForFunction(() => window.picture?.drawn, { timeout: DEADLINE });
  const { errors, height } = await page.evaluate(() => ({ errors: window.picture.errors, height: document.documentElement.scrollHeight }));
  if (errors.length > 0) throw new Error(`${board}: ${errors.join('\n')}`);
  await page.setViewport({ width: WIDTH, height });
  await page.waitForNetworkIdle();
  await page.screenshot({ path: file });
  await page.close();
}

const PAGE = '<!doctype html><link rel="stylesheet" href="/build/page.css"><div id="page"></div><script src="/build/page.js"></script>';

function serve(asked, answer, prometheus, dashboards) {
  const path = normalize(new URL(asked.url, 'http://localhost').pathname);
  if (path === '/') return answer.setHeader('content-type', 'text/html').end(PAGE);
  if (path.startsWith('/prometheus/')) return forward(asked, answer, prometheus, path.slice('/prometheus'.length));
  const file = locate(path, dashboards);
  answer.setHeader('content-type', TYPES[path.split('.').at(-1)] ?? 'application/octet-stream');
  createReadStream(file).on('error', () => answer.writeHead(404).end()).pipe(answer);
}

function locate(path, dashboards) {
  const [, root, ...rest] = path.split('/');
  const name = rest.at(-1) ?? root;
  if (root === 'dashboards') return join(dashboards, name);
  // Debian's package has the same fonts in another form.
  if (root === 'public' && name.startsWith('Inter-')) return join('/usr/share/fonts/opentype/inter', name.replace('.woff2', '.otf'));
  if (root === 'public') return join(HERE, 'node_modules/@grafana/ui/dist/public', ...rest.filter((part) => part !== 'build'));
  return join(HERE, 'build', name);
}

function forward(asked, answer, prometheus, path) {
  const onwards = request(`http://${prometheus}${path}`, { method: asked.method, headers: { 'content-type': asked.headers['content-type'] ?? '' } }, (said) => {
    answer.writeHead(said.statusCode, { 'content-type': 'application/json' });
    said.pipe(answer);
  });
  onwards.on('error', () => answer.writeHead(502).end());
  asked.pipe(onwards);
}
