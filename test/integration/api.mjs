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

// The whole log of a channel, page by page.
export async function wholeLog(broker, channel, page = 1000) {
  const all = [];
  let since = { offset: 0 };
  for (;;) {
    const result = await ok(broker, 'history', { channel, since, limit: page });
    if (result.gap) throw new Error('a gap');
    all.push(...result.publications);
    if (result.publications.length === 0) return { publications: all, epoch: result.epoch, offset: result.offset };
    since = { offset: result.publications.at(-1).offset, epoch: result.epoch };
  }
}
