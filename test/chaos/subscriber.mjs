// Reads all channels through GET /api/stream and writes down every message that it is sent, as it is sent. A process of its own, started by run.mjs.
//
// A stream that ends or breaks is opened again on the next node, after the last position that it was sent whole. Nothing is left out here: what comes twice
// is written twice, an announced gap is written as one, for check.mjs to find.
// In: {finish: true, windows}. Out: {received: N} from time to time, {done: COUNTS}. Of messages that say when they were begun, COUNTS has how long they took to come, by the
// windows in which they were begun.
import http from 'node:http';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { EventReader } from '../integration/events.mjs';
import { Samples } from './samples.mjs';

const SILENCE = 45_000; // a living stream says something every 15 s
const RECONNECT = 100;

const { nodes, apiKey, channels, from, first, file } = JSON.parse(process.argv[2]);
const out = createWriteStream(file);
const agent = new http.Agent({ maxSockets: Infinity });
const counts = { received: 0, streams: 0, gaps: 0 };
const open = new Set();
const samples = new Samples();
let finishing = false, windows;

function take(channel, state, fields) {
  if (fields.event === 'gap') {
    counts.gaps++;
    out.write(`${channel}\tgap\t${state.last}\t-\t-\t-\n`);
  } else if (fields.data) {
    const publication = JSON.parse(fields.data);
    const [epoch, offset] = (fields.id ?? ':0').split(':');
    const hash = createHash('md5').update(JSON.stringify(publication.data)).digest('hex');
    out.write(`${channel}\t${epoch}\t${offset}\t${publication.id}\t${publication.data?.k}\t${hash}\n`);
    if (Number(offset) !== publication.offset) throw new Error(`${channel}: id says ${fields.id}, the message ${publication.offset}`);
    state.last = fields.id;
    counts.received++;
    if (publication.data?.at) samples.add(publication.data.at, Date.now() - publication.data.at);
  }
}

// Resolves when the stream has ended, for whatever reason.
function stream(channel, node, state) {
  return new Promise((resolve) => {
    const url = new URL(`/api/stream?channel=${encodeURIComponent(channel)}&since=${encodeURIComponent(state.last)}`, nodes[node]);
    const request = http.get(url, { agent, headers: { 'x-api-key': apiKey }, timeout: SILENCE }, (response) => {
      counts.streams++;
      const events = new EventReader();
      response.setEncoding('utf8');
      if (response.statusCode !== 200) response.resume();
      else
        response.on('data', (chunk) => {
          for (const event of events.push(chunk)) take(channel, state, event);
        });
      response.on('error', () => {});
      response.on('close', resolve);
    });
    open.add(request);
    request.on('timeout', () => request.destroy());
    request.on('error', () => {});
    request.on('close', () => {
      open.delete(request);
      resolve();
    });
  });
}

async function follow(channel, index) {
  const state = { last: from[index] };
  for (let node = first + index; !finishing; node++) {
    await stream(channel, node % nodes.length, state);
    if (!finishing) await delay(RECONNECT);
  }
}

process.on('message', (message) => {
  if (!message.finish) return;
  finishing = true;
  windows = message.windows;
  for (const request of open) request.destroy();
});
process.on('disconnect', () => process.exit(1));
setInterval(() => process.send({ received: counts.received }), 100).unref();

await Promise.all(channels.map(follow));
await new Promise((resolve) => out.end(resolve));
process.send({ done: { ...counts, ...(windows && { windows: samples.report(windows) }) } }, () => process.exit(0));
