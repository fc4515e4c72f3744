// The configurations of docs/examples for proxies, as they are shipped but for addresses and certificates, with real clients. The nodes have nothing
// in common but the proxy: what matters here is that the requests of a session come to its node.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:https';
import { createServer } from 'node:net';
import path from 'node:path';

import { defer, examplePath, startBroker, tempDir, test, until } from './harness.mjs';
import { TRANSPORTS, connect, settled } from './socketio.mjs';

const PATIENCE = 20_000;
const CLIENT = '127.0.0.2'; // of another address than the proxy, so that the nodes can tell them apart
const agent = () => new Agent({ localAddress: CLIENT, rejectUnauthorized: false, keepAlive: true });
const RULES = `
http: {trusted_proxies: ["127.0.0.1"]}
channels: [{match: "*", subscribe: anyone, publish: anyone}]
socketio:
  events:
    - {event: whoami, do: [{ack: [{address: $address, secure: $handshake.secure}]}]}
    - {event: take, do: [{ack: [taken]}]}
    - {event: later, do: [{emit: {event: now}}]}
`;

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// Replaces each text, which must be there.
function replace(name, pairs) {
  return pairs.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), `${name} has no "${from}"`);
    return text.replaceAll(from, to);
  }, readFileSync(examplePath(name), 'utf8'));
}

const nodesAt = (nodes) => nodes.map((node, i) => [`10.0.0.${i + 1}:8000`, `127.0.0.1:${node.port}`]);

// Each: the program, how many nodes its example has, and from a folder, a port, a certificate and the nodes the command.
const PROXIES = {
  'nginx.conf': {
    program: 'nginx',
    nodes: 1,
    command({ dir, port, cert, key }, [node]) {
      const site = replace('nginx.conf', [
        ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
        ['/etc/ssl/certs/chat.example.com.pem', cert],
        ['/etc/ssl/private/chat.example.com.key', key],
        ['127.0.0.1:8000', `127.0.0.1:${node.port}`],
      ]);
      const temps = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((t) => `${t}_temp_path ${dir}/${t};`).join(' ');
      const file = path.join(dir, 'nginx.conf');
      writeFileSync(file, `daemon off; master_process off; pid ${dir}/pid; error_log stderr warn; events {}\nhttp { access_log off; ${temps}\n${site}}\n`);
      return ['nginx', '-e', 'stderr', '-p', dir, '-c', file];
    },
  },
  'haproxy.cfg': {
    program: 'haproxy',
    nodes: 3,
    command({ dir, port, cert }, nodes) {
      const file = path.join(dir, 'haproxy.cfg');
      writeFileSync(file, replace('haproxy.cfg', [['maxconn 50000', 'maxconn 500'], ['bind :443', `bind 127.0.0.1:${port}`], ['/etc/haproxy/certs/chat.example.com.pem', cert], ...nodesAt(nodes)]));
      return ['haproxy', '-db', '-f', file];
    },
  },
  Caddyfile: {
    program: 'caddy',
    nodes: 3,
    command({ dir, port, cert, key }, nodes) {
      const file = path.join(dir, 'Caddyfile');
      const site = replace('Caddyfile', [['\nchat.example.com {\n', `\nhttps://127.0.0.1:${port} {\n\ttls ${cert} ${key}\n`], ...nodesAt(nodes)]);
      writeFileSync(file, `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${site}`);
      return ['caddy', 'run', '--adapter', 'caddyfile', '--config', file];
    },
  },
  'traefik.toml': {
    program: 'traefik',
    nodes: 3,
    command({ dir, port, cert, key }, nodes) {
      const routes = path.join(dir, 'routes.toml');
      const file = path.join(dir, 'traefik.toml');
      const cert_ = [['/etc/ssl/certs/chat.example.com.pem', cert], ['/etc/ssl/private/chat.example.com.key', key]];
      writeFileSync(routes, replace('traefik-routes.toml', [...cert_, ...nodesAt(nodes)]));
      writeFileSync(file, replace('traefik.toml', [['":443"', `"127.0.0.1:${port}"`], ['/etc/traefik/traefik-routes.toml', routes]]));
      return ['traefik', `--configFile=${file}`];
    },
  },
};

const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const missing = (program) => spawnSync('sh', ['-c', `command -v ${program}`], { env }).status !== 0 && `${program} is not installed`;

function certificate(dir) {
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  writeFileSync(cert, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8')); // HAProxy wants both in one
  return { cert, key };
}

function status(url) {
  return new Promise((resolve) => {
    const asked = get(url, { agent: agent(), timeout: 5000 }, (response) => response.resume().on('end', () => resolve(response.statusCode)));
    asked.on('error', () => resolve(0)).on('timeout', () => asked.destroy());
  });
}

async function startProxy(t, proxy, nodes) {
  const dir = tempDir(t);
  const port = await freePort();
  const [program, ...args] = proxy.command({ dir, port, ...certificate(dir) }, nodes);
  const child = spawn(program, args, { cwd: dir, env: { ...env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const ended = new Promise((resolve) => child.on('exit', resolve));
  defer(t, () => (child.kill('SIGKILL'), ended));
  const url = `https://127.0.0.1:${port}`;
  const path_ = '/socket.io/?EIO=4&transport=polling';
  await until(`${program} serves`, async () => {
    if (child.exitCode !== null) throw new Error(`${program} ended:\n${output}`);
    return (await status(url + path_)) === 200;
  }, PATIENCE).catch((error) => {
    throw new Error(`${error.message}\n${output}`, { cause: error });
  });
  return url;
}

const nodeOf = (socket) => socket.io.engine.id.split('.')[0];
const ask = (socket, ...args) => socket.timeout(PATIENCE).emitWithAck(...args);

for (const [name, proxy] of Object.entries(PROXIES)) {
  test(`${name}: sessions of all transports, addresses, private paths, a node that dies`, { skip: missing(proxy.program), timeout: 120_000 }, async (t) => {
    const nodes = [];
    for (let i = 1; i <= proxy.nodes; i++) nodes.push(await startBroker(t, { text: RULES, set: { 'node.name': `n${i}` } }));
    const url = await startProxy(t, proxy, nodes);
    const options = (more) => ({ agent: agent(), rejectUnauthorized: false, extraHeaders: { 'X-Forwarded-For': '6.6.6.6' }, timeout: PATIENCE, ...more });

    const clients = [];
    for (let i = 0; i < 12; i++) clients.push(await settled(await connect(t, url, options(Object.values(TRANSPORTS)[i % 3]))));
    if (proxy.nodes > 1) assert.equal(new Set(clients.map(nodeOf)).size, proxy.nodes, 'some node has no client');
    for (const c of clients) {
      assert.deepEqual(await ask(c, 'whoami'), { address: CLIENT, secure: true }, nodeOf(c));
      assert.equal(await ask(c, 'take', 'x'.repeat(900_000)), 'taken');
      c.emit('later');
      await until('an event comes at once', () => c.of('now').length === 1);
    }
    for (const hidden of ['/api/info', '/metrics', '/readyz']) assert.match(String(await status(url + hidden)), /^40[34]$/, hidden);
    if (proxy.nodes === 1) return;

    await nodes[0].kill();
    await until('its clients are back on other nodes', () => clients.every((c) => c.connected && nodeOf(c) !== 'n1'), PATIENCE);
    for (let i = 0; i < 6; i++) clients.push(await connect(t, url, options(Object.values(TRANSPORTS)[i % 3])));
    for (const c of clients) assert.equal(await ask(c, 'take', ''), 'taken');
    await nodes[0].restart();
    await until('the node has clients again', async () => nodeOf(await connect(t, url, options(TRANSPORTS.polling))) === 'n1', PATIENCE);
  });
}
