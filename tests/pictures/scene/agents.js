// What a director's agent says of itself, of the kernel and of the virtual addresses.

import { DIRECTORS, RELOADED, START, VIRTUAL_SERVERS, startOf } from './world.js';
import { Histogram, noise } from './numbers.js';

const ADDRESSES = [...new Set(VIRTUAL_SERVERS.map((service) => service.address))];
const SYSCTL = {
  am_droprate: 10, conn_reuse_mode: 1, drop_entry: 0, drop_packet: 0, expire_nodest_conn: 1, expire_quiescent_template: 1, run_estimation: 1,
  secure_tcp: 0, sloppy_sctp: 0, sloppy_tcp: 0, sync_period: '0', sync_ports: 1, sync_refresh_period: 0, sync_retries: 0,
};
const COMMANDS = { get_service: 0.0004, get_dest: 0.0006, get_info: 0.0001, set_dest: 0.0002 };

export class Agent {
  constructor(number, servers) {
    Object.assign(this, { number, servers, director: DIRECTORS[number] });
    this.requests = Object.fromEntries(Object.keys(COMMANDS).map((command) => [command, { count: 0, histogram: new Histogram() }]));
    this.cycle = new Histogram();
    this.apply = new Histogram();
    this.lag = new Histogram();
    this.moves = 0;
    this.interrupted = 0;
    this.cpu = 0;
    this.active = this.director.active(START);
    this.applied = 0;
  }

  step(time, seconds) {
    const active = this.director.active(time);
    if (active !== this.active) [this.moves, this.moved] = [this.moves + 1, time - 6];
    this.active = active;
    const changes = this.servers.sum((service) => Object.values(service.changes).reduce((a, b) => a + b));
    const cycles = seconds / 2;
    const often = { get_service: cycles, get_dest: cycles * VIRTUAL_SERVERS.length, get_info: cycles, set_dest: changes - this.applied };
    for (const [command, request] of Object.entries(this.requests)) {
      request.count += often[command];
      request.histogram.observe(COMMANDS[command], often[command]);
    }
    if (noise(1) > 1.95) this.interrupted += 1;
    this.cycle.observe(0.0052, cycles);
    this.lag.observe(0.0016, seconds * 29);
    this.apply.observe(0.0085, changes - this.applied);
    this.applied = changes;
    this.cpu += seconds * 0.021 * noise(0.3);
  }

  write(put, time) {
    const { number } = this;
    const held = this.servers.sum((service) => service.servers.filter((server) => server.weight === 0).length);
    put('up', {}, 1);
    put('scrape_duration_seconds', {}, 0.011 * noise(0.5));
    put('scrape_samples_scraped', {}, 2396 + held);
    put('ipvs_up', {}, 1);
    put('ipvs_info', { version: '1.2.1' }, 1);
    put('ipvs_connection_table_buckets', {}, 65536);
    put('ipvs_estimation_enabled', {}, 1);
    for (const [session, seconds] of Object.entries({ tcp: 900, tcp_fin: 120, udp: 300 })) put('ipvs_timeout_seconds', { session }, seconds);
    for (const [name, value] of Object.entries(SYSCTL)) put('ipvs_sysctl', { name }, number === 1 && name === 'sync_refresh_period' ? 10 : value);
    for (const role of ['master', 'backup']) put('ipvs_sync_daemon_running', { role }, (role === 'master') === this.active ? 1 : 0);
    put('ipvs_sync_daemon_info', {
      role: this.active ? 'master' : 'backup', interface: 'eth1', sync_id: 51, group: '224.0.0.81', port: 8848, ttl: 1, maxlen: 1472,
    }, 1);
    const total = (key) => Math.round(this.servers.sum((service) => service.totals[key]));
    put('ipvs_connections_total', {}, total('connections'));
    put('ipvs_incoming_packets_total', {}, total('packets'));
    put('ipvs_outgoing_packets_total', {}, total('packetsOut'));
    put('ipvs_incoming_bytes_total', {}, total('bytes'));
    put('ipvs_outgoing_bytes_total', {}, total('bytesOut'));
    this.writeAddresses(put);
    this.writeSelf(put, time, held);
  }

  writeAddresses(put) {
    for (const vip of ADDRESSES) {
      put('lvs_vip_present', { vip }, this.active ? 1 : 0);
      put('lvs_vip_info', { vip, interface: this.active ? 'eth0' : '', sharing: 'exclusive' }, 1);
      put('lvs_vip_transitions_total', { vip }, this.moves);
      if (this.moved) put('lvs_vip_change_timestamp_seconds', { vip }, this.moved);
    }
    put('lvs_director_active', {}, this.active ? 1 : 0);
  }

  writeSelf(put, time, held) {
    const started = startOf(this.number, time);
    const reloaded = time >= RELOADED;
    put('lvs_agent_build_info', { version: '0.1.0', revision: 'd371d95', rustc: '1.95.0' }, 1);
    put('lvs_agent_mode', { mode: 'enforce' }, 1);
    put('lvs_agent_mode', { mode: 'observe' }, 0);
    put('lvs_agent_config_last_reload_successful', {}, 1);
    put('lvs_agent_config_last_reload_success_timestamp_seconds', {}, reloaded ? RELOADED : started + 1);
    put('lvs_agent_config_hash', {}, reloaded ? 151763092014387 : 88120934410275);
    for (const [collector, took] of Object.entries({ ipvs: 0.0049, addresses: 0.0004, process: 0.0002 })) {
      put('lvs_agent_collector_success', { collector }, 1);
      put('lvs_agent_collector_duration_seconds', { collector }, took * noise(0.4));
    }
    put('lvs_agent_snapshot_timestamp_seconds', {}, time - 1.2 * noise(0.6));
    put('lvs_agent_reconcile_last_success_timestamp_seconds', {}, time - 1.2 * noise(0.6));
    for (const [command, { count, histogram }] of Object.entries(this.requests)) {
      put('lvs_agent_netlink_requests_total', { command }, Math.round(count));
      histogram.write(put, 'lvs_agent_netlink_request_duration_seconds', { command });
    }
    put('lvs_agent_netlink_dump_interrupted_total', {}, this.interrupted);
    put('lvs_agent_netlink_dump_retries_total', {}, this.interrupted);
    put('lvs_agent_netlink_overruns_total', {}, 0);
    this.cycle.write(put, 'lvs_agent_reconcile_duration_seconds', {});
    this.apply.write(put, 'lvs_agent_decision_apply_duration_seconds', {});
    this.lag.write(put, 'lvs_agent_probe_schedule_lag_seconds', {});
    put('lvs_agent_ledger_entries', {}, held);
    put('lvs_agent_ledger_write_failures_total', {}, 0);
    put('lvs_agent_probes_in_flight', {}, Math.round(2 * noise(0.8)));
    put('lvs_agent_probes_in_flight_limit', {}, 512);
    for (const reason of ['no_port', 'in_flight_limit', 'fd_reserve', 'overdue']) put('lvs_agent_probes_skipped_total', { reason }, 0);
    for (const kind of ['weight', 'missing_virtual_server']) put('lvs_drift_detected_total', { kind }, 0);
    put('lvs_agent_http_requests_in_flight', {}, 1);
    put('process_cpu_seconds_total', {}, this.cpu);
    put('process_resident_memory_bytes', {}, 19.4e6 + (time - started) * 0.04);
    put('process_virtual_memory_bytes', {}, 214e6);
    put('process_open_fds', {}, Math.round(31 * noise(0.3)));
    put('process_max_fds', {}, 65536);
    put('process_start_time_seconds', {}, started);
    put('process_threads', {}, 3);
  }
}
