// The HTTP API as the tests call it.
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
