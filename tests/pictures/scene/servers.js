// What a director's agent says of virtual and real servers, step by step.

import { DIRECTORS, END, DAY, START, VIRTUAL_SERVERS, demand, failing, startOf, takenByHand } from './world.js';
import { Histogram, noise } from './numbers.js';

const FLAPPING_WINDOW = 30 * 60;
const FLAPPING_FROM = 6;
const HOLD_DOWN = 40;

export class Servers {
  constructor(director) {
    this.director = director;
    this.services = VIRTUAL_SERVERS.map((service) => new Service(service, director));
  }

  step(time, seconds) {
    const active = DIRECTORS[this.director].active(time);
    for (const service of this.services) service.step(time, seconds, active);
  }

  write(put, time) {
    for (const service of this.services) service.write(put, time);
  }

  sum(of) {
    return this.services.reduce((total, service) => total + of(service), 0);
  }
}

class Service {
  constructor(service, director) {
    Object.assign(this, { service, director, labels: { virtual_server: service.id } });
    this.totals = { connections: 0, bytes: 0, packets: 0, bytesOut: 0, packetsOut: 0 };
    this.changes = { drain: 0, restore: 0, adjust: 0 };
    this.held = {};
    this.phases = (service.tls ? ['connect', 'tls', 'processing', 'transfer', 'total'] : ['connect', 'processing', 'total']).map((phase) => ({
      phase,
      histogram: new Histogram(),
      median: service.median * { connect: 0.12, tls: 0.35, processing: 0.45, transfer: 0.05, total: 1 }[phase],
    }));
    this.servers = service.servers.map((server) => new Server(server, service, director));
  }

  step(time, seconds, active) {
    const { service, servers } = this;
    for (const server of servers) server.judge(time, seconds);
    this.plan(time);
    const weights = servers.reduce((sum, server) => sum + server.weight, 0);
    const rate = service.clients * demand(time) * noise(0.04);
    for (const server of servers) {
      const share = weights === 0 ? 0 : server.weight / weights;
      server.carry(rate * share * noise(0.03), seconds, active, this.totals);
    }
    for (const { phase, histogram, median } of this.phases) {
      const probes = (seconds / service.interval) * servers.length;
      const failed = servers.filter((server) => server.failure).length / servers.length;
      histogram.observe(median, probes * (1 - failed));
      if (phase === 'total') histogram.observeOne(service.timeout, probes * failed * 0.8);
    }
  }

  /** The floor keeps those that began to fail last. */
  plan(time) {
    const { service, servers } = this;
    const base = servers.filter((server) => !server.byHand);
    let out = Math.max(0, base.length - service.floor);
    this.floorReached = 0;
    for (const server of servers) server.held = undefined;
    for (const server of [...base].sort((a, b) => (a.failure?.from ?? 0) - (b.failure?.from ?? 0))) {
      const wanted = !server.up || server.heldDown(time);
      server.protectedNow = !server.up && out === 0;
      if (server.protectedNow) {
        this.floorReached = 1;
        server.held = 'floor';
      } else if (wanted) {
        out -= 1;
        server.held = server.up ? 'hold_down' : undefined;
      }
      this.weigh(server, wanted && !server.protectedNow ? 0 : server.server.owed);
      if (server.held && server.held !== server.heldBefore) this.held[server.held] = (this.held[server.held] ?? 0) + 1;
      server.heldBefore = server.held;
    }
    for (const server of servers.filter((s) => s.byHand)) this.weigh(server, 0);
  }

  weigh(server, weight) {
    if (weight === server.weight) return;
    this.changes[weight === 0 ? 'drain' : 'restore'] += 1;
    server.weight = weight;
  }

  write(put, time) {
    const { service, servers, labels } = this;
    const count = (of) => servers.filter(of).length;
    const usable = servers.filter((server) => server.weight > 0 && server.up);
    const weight = (of) => of.reduce((sum, server) => sum + server.server.owed, 0);
    const v4 = service.family === 'ipv4';
    put('ipvs_virtual_server_info', {
      ...labels, protocol: service.protocol, address: service.address, port: service.port, fwmark: '', address_family: service.family, scheduler: service.scheduler,
      scheduler_flags: service.flags, persistence_engine: '', netmask: v4 ? '255.255.255.255' : '128', one_packet: 'false',
    }, 1);
    if (service.persistence) put('ipvs_virtual_server_persistence_timeout_seconds', labels, service.persistence);
    put('ipvs_virtual_server_real_servers', labels, servers.length);
    traffic(put, 'ipvs_virtual_server', labels, this.totals);
    put('lvs_virtual_server_info', { ...labels, name: service.name }, 1);
    put('lvs_virtual_server_up', labels, usable.length >= service.quorum ? 1 : 0);
    const states = { up: count((s) => s.up && !s.byHand), down: count((s) => !s.up && !s.byHand), unknown: 0, drained: count((s) => s.byHand) };
    for (const [state, number] of Object.entries(states)) put('lvs_virtual_server_real_servers', { ...labels, state }, number);
    put('lvs_virtual_server_capacity_ratio', labels, weight(usable) / weight(servers.filter((server) => !server.byHand)));
    put('lvs_virtual_server_refuses_at_zero', labels, 0);
    put('lvs_virtual_server_quorum', labels, service.quorum);
    put('lvs_virtual_server_floor', labels, service.floor);
    put('lvs_virtual_server_capacity_low_ratio', labels, service.capacityLow);
    put('lvs_virtual_server_floor_reached', labels, this.floorReached);
    put('lvs_virtual_server_protected_real_servers', labels, count((s) => s.protectedNow));
    for (const [direction, number] of Object.entries(this.changes)) put('lvs_weight_changes_total', { ...labels, direction }, number);
    for (const [reason, number] of Object.entries(this.held)) put('lvs_weight_changes_held_total', { ...labels, reason }, number);
    const check = { ...labels, check: service.check };
    put('lvs_check_info', { ...check, kind: service.kind, rise: 2, fall: 3 }, 1);
    put('lvs_check_timeout_seconds', check, service.timeout);
    put('lvs_check_interval_seconds', check, service.interval);
    for (const { phase, histogram } of this.phases) histogram.write(put, 'lvs_check_duration_seconds', { ...labels, phase });
    for (const server of servers) server.write(put, time, check);
  }
}

class Server {
  constructor(server, service, director) {
    Object.assign(this, { server, service, director, weight: server.owed, up: true });
    this.totals = { connections: 0, bytes: 0, packets: 0, bytesOut: 0, packetsOut: 0 };
    this.attempts = 0;
    this.failures = {};
    this.row = { failures: 0, successes: 4000 + server.at };
    this.changed = [];
    this.trips = 0;
    this.downtime = 0;
    this.open = service.clients * demand(START) * service.lasts / service.servers.length;
    this.bound = service.persistence ? this.open * 2.4 : 0;
    this.labels = { virtual_server: service.id, real_server: server.id };
  }

  judge(time, seconds) {
    this.failure = failing(this.server, this.director, time);
    this.byHand = takenByHand(this.server, time);
    const up = !this.failure;
    if (up !== this.up) this.changed.push(time - 5);
    // A process ends its connections when it dies or is restarted; a host that vanishes, or hangs, says nothing.
    if (this.up && ['bad_status', 'connect_refused'].includes(this.failure?.reason)) this.trips += 1;
    this.up = up;
    const probes = seconds / this.service.interval;
    this.attempts += probes;
    this.last = up ? this.service.median * noise(0.5) : this.failure.reason.endsWith('timeout') ? this.service.timeout : this.service.median * 0.4;
    if (up) {
      this.row = { failures: 0, successes: this.row.successes + probes };
      return;
    }
    this.downtime += seconds;
    this.failures[this.failure.reason] = (this.failures[this.failure.reason] ?? 0) + probes;
    this.row = { failures: this.row.failures + probes, successes: 0 };
  }

  flapping(time) {
    return this.changed.filter((at) => at > time - FLAPPING_WINDOW).length > FLAPPING_FROM;
  }

  heldDown(time) {
    return this.up && this.flapping(time) && this.changed.at(-1) > time - HOLD_DOWN;
  }

  carry(rate, seconds, active, ofService) {
    const { service } = this;
    const towards = (value, target, over) => value + (target - value) * (1 - Math.exp(-seconds / over));
    // Clients that are bound come back to a server that is being drained, until they have been away for long enough.
    const late = this.byHand && this.up ? this.bound * 0.004 : 0;
    this.open = towards(this.open, (rate + late) * service.lasts, this.weight > 0 ? 20 : 12 * service.lasts);
    if (service.persistence) this.bound = towards(this.bound, rate * service.lasts * 2.4, this.weight > 0 ? 200 : service.persistence * 1.6);
    if (!active) return;
    const connections = (rate + late) * seconds;
    for (const totals of [this.totals, ofService]) {
      totals.connections += connections;
      totals.bytes += connections * service.bytes;
      totals.packets += connections * (service.bytes / 700 + 5);
      totals.bytesOut += connections * service.replies;
      totals.packetsOut += connections * (service.replies === 0 ? 0 : service.replies / 1100 + 3);
    }
  }

  write(put, time, checkOf) {
    const { service, labels } = this;
    const check = { ...checkOf, real_server: this.server.id };
    const quick = service.protocol === 'tcp';
    put('ipvs_real_server_info', { ...labels, forwarding: service.forwarding, address_family: service.family, tunnel_type: '', tunnel_port: '' }, 1);
    put('ipvs_real_server_weight', labels, this.weight);
    put('ipvs_real_server_active_connections', labels, quick ? Math.round(this.open) : 0);
    put('ipvs_real_server_inactive_connections', labels, Math.round(this.open * (quick ? 1.7 : 1)));
    put('ipvs_real_server_persistent_connections', labels, Math.round(this.bound));
    if (service.limit) put('ipvs_real_server_connection_threshold', { ...labels, bound: 'upper' }, service.limit);
    traffic(put, 'ipvs_real_server', labels, this.totals);
    put('lvs_real_server_up', labels, this.up ? 1 : 0);
    if (this.byHand) put('lvs_real_server_drained', { ...labels, reason: 'operator' }, 1);
    else if (this.weight === 0) put('lvs_real_server_drained', { ...labels, reason: 'check' }, 1);
    if (this.held) put('lvs_real_server_change_held', { ...labels, reason: this.held }, 1);
    put('lvs_real_server_owed_weight', labels, this.server.owed);
    put('lvs_real_server_desired_weight', labels, this.weight);
    if (this.flapping(time)) put('lvs_real_server_flapping', labels, 1);
    put('lvs_real_server_state_change_timestamp_seconds', labels, this.changed.at(-1) ?? startOf(this.director, time) + 3);
    put('lvs_real_server_transitions_total', labels, this.changed.length);
    put('lvs_real_server_downtime_seconds_total', labels, this.downtime);
    put('lvs_check_up', check, this.up ? 1 : 0);
    put('lvs_check_attempts_total', check, Math.round(this.attempts));
    for (const [reason, number] of Object.entries(this.failures)) put('lvs_check_failures_total', { ...check, reason }, Math.round(number));
    put('lvs_check_consecutive_failures', check, Math.round(this.row.failures));
    put('lvs_check_consecutive_successes', check, Math.round(this.row.successes));
    put('lvs_check_last_duration_seconds', check, this.last);
    put('lvs_check_last_attempt_timestamp_seconds', check, time - 0.3 - (this.server.at % 4) * 0.4);
    if (service.tripwire) {
      put('lvs_check_tripwire_armed', check, this.up && service.tripwire === 'held' ? 1 : 0);
      put('lvs_check_tripwire_trips_total', check, this.trips);
      if (service.tripwire !== 'held') put('lvs_check_tripwire_degraded', { ...check, reason: service.tripwire }, 1);
    }
    if (service.tls) {
      const days = service.name === 'api' && this.server.at === 5 ? 17 : 38 + service.servers.length * 3;
      put('lvs_check_tls_not_after_timestamp_seconds', check, END + days * DAY + 3600 * this.server.at);
    }
  }
}

function traffic(put, of, labels, totals) {
  put(`${of}_connections_total`, labels, Math.round(totals.connections));
  put(`${of}_incoming_packets_total`, labels, Math.round(totals.packets));
  put(`${of}_outgoing_packets_total`, labels, Math.round(totals.packetsOut));
  put(`${of}_incoming_bytes_total`, labels, Math.round(totals.bytes));
  put(`${of}_outgoing_bytes_total`, labels, Math.round(totals.bytesOut));
}
