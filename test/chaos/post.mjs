// One try to publish through the HTTP API.
import http from 'node:http';

const TIMEOUT = 10_000; // a frozen node does not answer

// { status, text }; rejects when there is no whole answer. `node`: its URL.
export function post(node, body, { apiKey, agent }) {
  return new Promise((resolve, reject) => {
    const headers = { 'x-api-key': apiKey, 'content-length': Buffer.byteLength(body) };
    const request = http.request(new URL('/api/publish', node), { method: 'POST', agent, headers, timeout: TIMEOUT }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('close', () => (response.complete ? resolve({ status: response.statusCode, text }) : reject(new Error('cut'))));
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end(body);
  });
}
