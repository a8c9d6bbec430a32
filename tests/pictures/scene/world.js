// A small fleet of two directors, and what happens to it: the failures, the drain and the moves that the pictures show.
// Times are seconds before the end of the picture.

export const END = Date.UTC(2026, 10, 18, 15, 2, 0) / 1000;
export const SCRAPE_INTERVAL = 15;
/** Somewhat longer than what is shown, for rates and for what was there before. */
export const START = END - 2.5 * 3600;

const MINUTE = 60;
export const DAY = 86400;

export const DIRECTORS = [
  { instance: 'director-1:10190', started: [END - 9 * DAY], active: (time) => time >= END - 95 * MINUTE },
  // It gets a new version before it is to be the standby.
  { instance: 'director-2:10190', started: [END - 9 * DAY, END - 88 * MINUTE], active: (time) => time < END - 95 * MINUTE },
];

export function startOf(director, time) {
  return DIRECTORS[director].started.findLast((start) => start <= time);
}

/** While it starts anew, Prometheus gets no answer. */
export function answers(director, time) {
  return !DIRECTORS[director].started.some((start) => time >= start - 40 && time < start);
}

/** The same on both. */
export const RELOADED = END - 26 * MINUTE;

const web = { check: 'web', kind: 'https', interval: 2, timeout: 1, median: 0.011, tls: true };
const port = { check: 'port', kind: 'tcp', interval: 2, timeout: 1, median: 0.0009 };

/** `clients` is connections a second at noon, `lasts` how long one is open, `bytes` what its client sends, `tripwire` whether it is `held` or why not. */
export const VIRTUAL_SERVERS = [
  service('shop', '10.10.0.100', 443, 'tcp', 12, {
    ...web, scheduler: 'wlc', persistence: 300, clients: 620, lasts: 9, bytes: 9200, weights: [10, 10, 10, 6], floor: 6,
  }),
  service('shop redirects', '10.10.0.100', 80, 'tcp', 12, { ...port, network: 100, scheduler: 'wlc', clients: 95, lasts: 0.6, bytes: 600 }),
  service('api', '10.10.0.101', 443, 'tcp', 8, { ...web, scheduler: 'wrr', clients: 410, lasts: 2.5, bytes: 5100, median: 0.024, tripwire: 'held' }),
  service('pictures', '10.10.0.102', 443, 'tcp', 6, { ...web, scheduler: 'mh', flags: 'mh-fallback', clients: 260, lasts: 4, bytes: 1900, median: 0.004 }),
  service('search', '10.10.0.103', 9200, 'tcp', 3, {
    ...web, kind: 'http', tls: false, scheduler: 'lc', clients: 70, lasts: 1.2, bytes: 2600, median: 0.037, floor: 2, tripwire: 'held',
  }),
  service('mail', '10.10.0.104', 25, 'tcp', 4, { ...port, check: 'greeting', kind: 'smtp', clients: 12, lasts: 14, bytes: 61000, median: 0.019, scheduler: 'wlc' }),
  service('names', '10.10.0.53', 53, 'udp', 4, {
    check: 'dns', kind: 'dns', interval: 2, timeout: 1, median: 0.0016, scheduler: 'rr', forwarding: 'masq', clients: 330, lasts: 20, bytes: 74, replies: 190,
  }),
  service('accounts', '10.10.0.105', 5432, 'tcp', 4, {
    ...port, check: 'postgres', kind: 'postgres', tripwire: 'closed', scheduler: 'lc', forwarding: 'masq', clients: 9, lasts: 95, bytes: 31000, replies: 240000, limit: 800, median: 0.003,
  }),
  service('shop', '2001:db8::100', 443, 'tcp', 6, { ...web, scheduler: 'wlc', persistence: 300, clients: 140, lasts: 9, bytes: 8800 }),
];

function service(name, address, portNumber, protocol, size, settings) {
  const v6 = address.includes(':');
  const network = v6 ? 6 : Number(address.split('.')[3]);
  const weights = settings.weights ?? [1];
  const server = (at) => (v6 ? `[2001:db8:0:1::${at + 21}]:${portNumber}` : `10.10.${network}.${at + 21}:${portNumber}`);
  return {
    name, address, port: portNumber, protocol,
    id: `${v6 ? `[${address}]` : address}:${portNumber}/${protocol}`,
    family: v6 ? 'ipv6' : 'ipv4',
    forwarding: 'route', flags: '', floor: 1, quorum: 1, capacityLow: 0.5, replies: 0,
    ...settings,
    servers: Array.from({ length: size }, (_, at) => ({ id: server(at), owed: weights[at % weights.length], at })),
  };
}

/** Which the pictures of one virtual server and of one real server are about. */
export const SHOWN = { virtual_server: '10.10.0.100:443/tcp', real_server: '10.10.100.27:443' };

/** From when until when a real server fails its checks, why, and who sees it (both unless said). */
const FAILURES = [
  // A rack goes: three servers of the shop, in all their virtual servers.
  ...['10.10.100.29:443', '10.10.100.30:443', '10.10.100.31:443', '10.10.100.29:80', '10.10.100.30:80', '10.10.100.31:80'].map((server) =>
    failure(server, 41 * MINUTE, 0, 'connect_timeout'),
  ),
  // Too small a heap: it hangs, is restarted, hangs.
  ...[88, 81.5, 75, 69, 62, 55.5, 49, 43, 36, 30, 23, 16.5, 10, 4].map((minutes, at) =>
    failure('10.10.100.27:443', minutes * MINUTE, (minutes - 1.5 - (at % 3)) * MINUTE, 'response_timeout'),
  ),
  // A deployment, one after the other.
  ...Array.from({ length: 8 }, (_, at) => failure(`10.10.101.${at + 21}:443`, (78 - 3 * at) * MINUTE, (76.5 - 3 * at) * MINUTE, 'bad_status')),
  // Two of three: the floor keeps one of them.
  failure('10.10.103.22:9200', 19 * MINUTE, 0, 'connect_refused'),
  failure('10.10.103.23:9200', 13 * MINUTE, 0, 'connect_refused'),
  // A filter between one director and one server.
  failure('10.10.104.24:25', 33 * MINUTE, 0, 'connect_timeout', 1),
  failure('10.10.102.23:443', 57 * MINUTE, 52 * MINUTE, 'tls_handshake'),
];

function failure(server, from, until, reason, director) {
  return { server, from: END - from, until: END - until + (until === 0 ? 3600 : 0), reason, director };
}

/** lvs-agent drain. */
const BY_HAND = [{ server: '10.10.100.24:443', from: END - 71 * MINUTE }];

/** What fails it there and then, if anything does. */
export function failing(server, director, time) {
  return FAILURES.find(
    (f) => f.server === server.id && time >= f.from && time < f.until && (f.director === undefined || f.director === director),
  );
}

export function takenByHand(server, time) {
  return BY_HAND.find((d) => d.server === server.id && time >= d.from);
}

/** More at noon than at night, fewer at weekends, and more every week. */
export function demand(time) {
  const date = new Date(time * 1000);
  const hour = date.getUTCHours() + date.getUTCMinutes() / 60;
  const ofDay = 0.58 + 0.42 * Math.sin(((hour - 8) / 24) * 2 * Math.PI);
  const weekend = [0, 6].includes(date.getUTCDay()) ? 0.72 : 1;
  const growth = 1 + (0.022 * (time - END)) / (7 * DAY);
  return ofDay * weekend * growth * (1 + 0.05 * Math.sin(time / 610) + 0.03 * Math.sin(time / 173));
}
