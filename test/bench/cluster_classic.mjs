// The classic stack on Node (peers/classic-server.mjs) on the services of the cluster while its nodes are stopped, then the nodes doing the same: the classic chat over Socket.IO, everything to everybody,
// with the same client.
import path from 'node:path';

import { LATENCY_HEADER, ROWS_HEADER, count, ingestRuns, latencyOf, latencyRow, rowsRow } from './cluster_parts.mjs';
import { CORES, HERE, act, names, nowNs, ports, rtbench, sql, until } from './cluster_tools.mjs';
import { table } from './run_report.mjs';
import { startServer } from './run_servers.mjs';

const SENDERS = 12;
const WINDOW = 100;
const SIZE = 100;
const WARM_UP = 1000;
const START_MS = 60_000;
const PARTITIONS = 16; // what the nodes' topic has
const CHAT = ['--protocol', 'sio', '--senders', SENDERS, '--window', WINDOW];

async function startServers(number) {
  const env = { REDIS_URL: process.env.RT_REDIS_URL, KAFKA: process.env.RT_KAFKA_BROKERS, PG_URL: process.env.RT_POSTGRES_URL, PARTITIONS: String(PARTITIONS), NODE_ENV: 'production' };
  const command = () => [process.execPath, path.join(HERE, 'peers', 'classic-server.mjs')];
  const servers = [];
  for (let i = 0; i < number; i++) servers.push(await startServer(`classic server ${i + 1}`, { command, env, cores: CORES, patience: START_MS }));
  return servers;
}

const stored = async () => Number(await sql('select count(*) from classic_message'));

// Publishes, and waits until all have been rows.
async function ingest(to, messages) {
  const before = await stored();
  const result = await rtbench('ingest', '--count', messages, '--size', SIZE, '--port', to.join(','), ...CHAT);
  const missing = async () => before + result.publishes - (await stored());
  const at = await until('all publishes are rows of the classic stack', async () => ((await missing()) <= 0 ? nowNs() : 0));
  return { ...result, rows_per_second: result.publishes / ((at - result.begin_ns) / 1e9), behind_ms: (at - result.end_ns) / 1e6 };
}

async function classic(options) {
  const servers = await startServers(options.classicServers);
  const to = servers.map((server) => server.port);
  try {
    await ingest(to, Math.min(WARM_UP, options.classicMessages)); // its consumers have met, its code is hot
    const latency = [];
    for (let i = 0; i < options.rounds; i++) latency.push(await latencyOf([to[1 % to.length], to[0]], 'sio', '', options.latencySeconds));
    let backlog = -1; // rows of the latency rounds
    await until('no more rows come', async () => backlog === (backlog = await stored()), 2000);
    return { latency, ingest: await ingest(to, options.classicMessages) };
  } finally {
    for (const server of servers) await server.stop();
  }
}

async function ours(options) {
  const latency = [];
  for (let i = 0; i < options.rounds; i++) latency.push(await latencyOf([ports[1], ports[0]], 'sio', '', options.latencySeconds));
  const runs = await ingestRuns(1, Math.ceil(options.messages / 5), CHAT);
  return { latency, ingest: runs[0] };
}

export async function measureClassic(options) {
  await act('stop', ...names);
  let theirs;
  try {
    theirs = await classic(options);
  } finally {
    await act('start', ...names);
  }
  const mine = await ours(options);
  const titles = { theirs: `classic stack, ${options.classicServers} servers`, mine: `rtbroker, ${names.length} nodes` };
  console.log(`\nthe classic chat, Socket.IO, everything to everybody, between two servers: 1,000 messages/s for ${options.latencySeconds} s; min/median/max`);
  console.log(table(LATENCY_HEADER, [latencyRow(titles.theirs, theirs.latency), latencyRow(titles.mine, mine.latency)]));
  console.log(`\nthe classic chat, ${SENDERS} clients with ${WINDOW} unanswered each, ${SIZE} bytes; answered: back at the client (the classic stack: through Redis; rtbroker: after it is in Kafka)`);
  console.log(table(ROWS_HEADER, [rowsRow(titles.theirs, theirs.ingest), rowsRow(titles.mine, mine.ingest)]));
  const ratio = mine.ingest.rows_per_second / theirs.ingest.rows_per_second;
  console.log(`stored a second: ${count(mine.ingest.rows_per_second)} against ${count(theirs.ingest.rows_per_second)}, ${ratio.toFixed(1)} times`);
  return { theirs, mine };
}
