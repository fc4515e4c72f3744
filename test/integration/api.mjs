// The HTTP API as the tests call it.
import http from 'node:http';

import { EventReader } from './events.mjs';
import { defer } from './harness.mjs';
import { request } from './wire.mjs';

// Resolves with the response; `result` is in `response.result` when it went well.
export async function call(broker, method, body, { key = 'test-key', agent, headers = {} } = {}) {
  const response = await request(broker.port, `/api/${method}`, {
    method: 'POST',
    host: broker.host,
    headers: { ...(key ? { 'x-api-key': key } : {}), ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    agent,
  });
  if (response.status === 200) response.result = response.json().result;
  else if (/json/.test(response.headers['content-type'] ?? '')) response.error = response.json();
  return response;
}

export async function ok(broker, method, body, options) {
  const response = await call(broker, method, body, options);
  if (response.status !== 200) throw new Error(`/api/${method}: ${response.status} ${response.text}`);
  return response.result;
}

// What a channel has behind `since`, page by page. `ask(query)` resolves with the result of one call.
export async function readPages(ask, { since = { offset: 0 }, page = 1000 } = {}) {
  const all = [];
  for (;;) {
    const { publications, gap, epoch, offset } = await ask({ since, limit: page });
    if (gap) throw new Error(`a gap behind ${since.offset}`);
    all.push(...publications);
    if (publications.length === 0) return { publications: all, epoch, offset };
    since = { offset: publications.at(-1).offset, epoch };
  }
}

// The whole log of a channel.
export const wholeLog = (broker, channel, page) => readPages((query) => ok(broker, 'history', { channel, ...query }), { page });

// GET /api/stream until the test ends: `events` grows, their data is parsed.
export async function openStream(t, broker, query, headers = {}) {
  const s = { events: [], ended: false };
  await new Promise((resolve, reject) => {
    s.request = http.get({ port: broker.port, host: '127.0.0.1', path: `/api/stream?${query}`, agent: false, headers: { 'x-api-key': 'test-key', ...headers } }, (res) => {
      s.status = res.statusCode;
      s.headers = res.headers;
      const events = new EventReader();
      res.setEncoding('utf8');
      res.on('data', (chunk) => {
        for (const event of events.push(chunk)) s.events.push({ ...event, data: JSON.parse(event.data) });
      });
      res.on('end', () => (s.ended = true));
      res.on('error', () => (s.ended = true));
      resolve();
    });
    s.request.on('error', reject);
  });
  s.close = () => s.request.destroy();
  defer(t, s.close);
  return s;
}
