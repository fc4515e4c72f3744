// The command line: commands, configuration from all its sources, what is printed, exit codes, signals.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { networkInterfaces } from 'node:os';
import path from 'node:path';

import WebSocket from 'ws';

import { call, ok, wholeLog } from './api.mjs';
import { BINARY, ROOT, SANITIZED, configPath, defer, once, startBroker, tempDir, tempFile, test, until, within } from './harness.mjs';
import { TRANSPORTS, connect, settled } from './socketio.mjs';
import { Tcp, Ws, readResponse, request, text } from './wire.mjs';

function run(args, { env = {}, cwd = ROOT, input = '' } = {}) {
  const r = spawnSync(BINARY, args, { encoding: 'utf8', cwd, input, env: { ...process.env, ...env }, timeout: 20_000 });
  return { code: r.status, out: r.stdout, err: r.stderr };
}

// A command that goes on; `lines` of its standard output.
function background(t, args, env = {}) {
  const child = spawn(BINARY, args, { cwd: ROOT, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const b = { child, out: '', err: '' };
  child.stdout.on('data', (chunk) => (b.out += chunk));
  child.stderr.on('data', (chunk) => (b.err += chunk));
  b.exit = new Promise((resolve) => child.on('close', (code) => resolve(code)));
  Object.defineProperty(b, 'lines', { get: () => b.out.split('\n').filter(Boolean) });
  defer(t, () => child.kill('SIGKILL'));
  return b;
}

const COMMANDS = ['serve', 'check', 'init', 'config', 'pub', 'sub', 'health', 'schema', 'backup'];

// ---- help, version, mistakes ----

test('help: all commands, and each of them', () => {
  const { code, out, err } = run(['--help']);
  assert.deepEqual([code, err], [0, '']);
  for (const command of COMMANDS) {
    assert.match(out, new RegExp(`^\\s+${command}\\s`, 'm'));
    const help = run(['help', command]);
    assert.equal(help.code, 0);
    assert.equal(run([command, '--help']).out, help.out);
    assert.match(help.out, /^rtbroker/);
  }
  assert.match(out, /Exit codes: 0, 1 .* 2/);
  assert.equal(run(['-h']).out, out);
});

test('version', () => {
  const { code, out, err } = run(['--version']);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /^rtbroker \d+\.\d+\.\d+ \(\w+\)\nbuilt with .*uv \d+\.\d+.*rdkafka \d+\.\d+.*wslay \d+\.\d+/);
  assert.ok(out.includes('llhttp '), out);
});

const mistakes = [
  [['--lisen', '127.0.0.1:0'], /unknown option --lisen; did you mean --listen\?/],
  [['--nothing-like-it'], /unknown option --nothing-like-it/],
  [['chekc'], /unknown command "chekc"; did you mean check\?/],
  [['--config'], /--config needs a value/],
  [['--set'], /--set needs a value/],
  [['--set', 'nonsense'], /nonsense/],
  [['--set', 'limits.mesage=5'], /limits\.mesage.*limits\.message/s],
  [['--set', 'limits.message=many'], /limits\.message.*many/s],
  [['--listen', 'nowhere'], /nowhere/],
  [['--listen', '127.0.0.1:99999'], /99999/],
  [['pub', 'only-a-channel'], /usage: rtbroker pub CHANNEL JSON.*standard input: there was none/],
  [['pub', 'c', '-', '--idempotency-key', 'k'], /names one message/],
  [['pub'], /usage: rtbroker pub CHANNEL/],
  [['help', 'nonsense'], /unknown command "nonsense"/],
  [['sub', 'c', '--retry', 'soon'], /--retry: "soon"/],
  [['pub', 'channel', 'not json'], /no JSON/],
  [['sub'], /usage: rtbroker sub CHANNEL/],
  [['sub', 'c', '--count', 'few'], /few/],
  [['--config', '/does/not/exist.yaml'], /\/does\/not\/exist\.yaml.*No such file/],
  [['check', '--config', '/'], /\//],
];
for (const [args, pattern] of mistakes) {
  test(`mistake: ${args.join(' ')}`, () => {
    const { code, out, err } = run(args);
    assert.equal(code, 2, err);
    assert.match(err, pattern);
    assert.equal(out, '');
  });
}

test('a port that is taken is a failure at run time', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(t, () => server.close());
  const { code, err } = run(['--listen', `127.0.0.1:${server.address().port}`]);
  assert.equal(code, 1);
  assert.match(err, new RegExp(`127\\.0\\.0\\.1:${server.address().port}`));
});

// ---- configuration ----

test('check: all mistakes at once, each with its place, what was seen and what is allowed', (t) => {
  const file = tempFile(t, 'bad.yaml', `http:
  listen: ["127.0.0.1:99999"]
limits:
  mesage: 64KiB
  connections: -5
log: {level: loud}
protocols:
  socketio: {ping_interval: soon, max_payload: 3}
channels:
  - {match: "x", subscribe: everyone}
  - {log: true}
socketio:
  events:
    - event: a
      do:
        - publsh: {channel: x}
    - event: b
      if: {value: $1.x, equalz: 1}
      do:
        - join: $undefined.variable
`);
  const { code, err, out } = run(['check', '--config', file]);
  assert.equal(code, 2);
  assert.equal(out, '');
  const errors = err.split('\n').filter((line) => line.includes('error:'));
  const expected = [
    [2, /99999/], [4, /"mesage" in limits.*did you mean message/], [5, /-5.*0 to 10000000/], [6, /loud.*debug.*info.*warn/], [8, /soon/], [8, /max_payload/],
    [10, /everyone.*anyone/], [11, /match/], [16, /publsh.*publish/], [18, /equalz.*equals/], [20, /undefined/],
  ];
  for (const [line, pattern] of expected) {
    const found = errors.find((e) => e.startsWith(`${file}:${line}:`) && pattern.test(e));
    assert.ok(found, `line ${line}, ${pattern} in:\n${err}`);
    assert.match(found, /:\d+:\d+: error: /);
  }
  assert.equal(errors.length, expected.length, err);
  const places = errors.map((e) => Number(/:(\d+):\d+: error/.exec(e)[1]));
  assert.deepEqual(places, [...places].sort((a, b) => a - b), 'in the order of the file');
});

// What other libraries and this machine have to say comes with a place as well, whoever asks.
const unusable = [
  ['limits: {mesage: 1}', '1:10', /mesage/],
  ['redis: {url: "http://:hunter2@h:1"}', '1:14', /redis\.url: begins with "http:\/\/"; allowed: redis:\/\/HOST:PORT/],
  ['redis: {url: "rediss://h:1"}', '1:14', /redis\.url: rediss:\/\/ needs/],
  ['redis: {url: "redis+sentinel://h"}', '1:14', /redis\.url: .*sentinel/],
  ['kafka: {brokers: ["h:1"], conf: {linger.ms: 5, no.such: 1}}', '1:48', /kafka\.conf: No such configuration property: "no\.such"/],
  ['kafka: {brokers: ["h:1"], conf: {linger.ms: soon}}', '1:34', /kafka\.conf: .*\(setting linger\.ms\)/],
  ['kafka: {brokers: ["h:1"], conf: {security.protocol: ssl, ssl.ca.location: /does/not/exist}}', '1:33', /kafka\.conf: ssl\.ca\.location failed/],
  ['kafka: {brokers: ["h:1"]}\nlimits: {send_queue: 4MiB, message: 1100000}', '2:37', /limits\.message is 1100000, with Kafka allowed are 1023616: kafka\.conf has message\.max\.bytes 1040000/],
  ['kafka: {brokers: ["h:1"], conf: {message.max.bytes: 1010000}}', '1:33', /limits\.message is 1000000, with Kafka allowed are 993616/],
  ['kafka: {brokers: ["h:1"], topic: "a b"}', '1:34', /kafka\.topic: got "a b"/],
  ['kafka: {consume: [{topics: [t], brokers: ["h:1"], conf: {no.such: 1}}]}', '1:58', /kafka\.conf: No such/],
  ['kafka: {brokers: ["h:1"]}\npostgres: {url: "postgres://:hunter2@h?nonsense=1"}', '2:17', /postgres\.url: .*nonsense/],
  ['kafka: {brokers: ["h:1"]}\npostgres: {url: "postgres://h", schema: pg_x}', '2:41', /postgres\.schema: .*pg_/],
  ['storage: {path: /does/not/exist/x.db}', '1:17', /storage\.path: .*\/does\/not\/exist.*No such file/],
  ['storage: {path: /tmp}', '1:17', /storage\.path: .*is a folder/],
  ['storage: {path: /dev/null/x.db}', '1:17', /storage\.path: /],
  ['protocols: {socketio: {client_dir: /does/not/exist}}', '1:36', /client_dir: no socket\.io\.js in/],
  ['protocols: {raw: [{path: /healthz}]}', '1:26', /path of the broker's own/],
  ['socketio: {namespaces: ["/a#b"]}', '1:25', /#/],
  ['socketio: {events: [{event: a, do: [{join: "x:$1"}]}]}', '1:44', /write \{\$1\}/],
];
for (const [yaml, place, pattern] of unusable) {
  test(`check and serve refuse ${yaml}`, (t) => {
    const file = tempFile(t, 'bad.yaml', `${yaml}\n`);
    const checked = run(['check', '--config', file]);
    const line = checked.err.split('\n').find((l) => l.startsWith(`${file}:${place}: error: `));
    assert.ok(line && pattern.test(line), checked.err);
    assert.doesNotMatch(checked.err, /hunter2/);
    const served = run(['--config', file]);
    assert.deepEqual([checked.code, served.code], [2, 2]);
    assert.equal(served.err, checked.err);
  });
}

test('what is shown needs no folder of the machine that serves', (t) => {
  const file = tempFile(t, 'c.yaml', 'storage: {path: /does/not/exist/x.db}\n');
  const { code, out, err } = run(['config', '--effective', '--config', file]);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /^storage\.path = "\/does\/not\/exist\/x\.db"/m);
});

test('check warns of rules that never run', (t) => {
  const file = tempFile(t, 'c.yaml', 'socketio:\n  events:\n    - {event: disconnect, do: []}\n    - {do: []}\n    - {event: x, do: []}\n');
  const { code, err } = run(['check', '--config', file]);
  assert.equal(code, 0, err);
  assert.match(err, /c\.yaml:3:7: warning: .*never runs for "disconnect"/);
  assert.match(err, /c\.yaml:5:7: warning: .*never runs for "x": the rule in line 4/);
});

test('check warns of keys that end with the connection', (t) => {
  const rule = 'socketio: {events: [{event: x, do: [{publish: {channel: c, key: $1}}]}]}\n';
  const off = run(['check', '--config', tempFile(t, 'c.yaml', rule)]);
  assert.equal(off.code, 0, off.err);
  assert.match(off.err, /warning: protocols\.socketio\.recovery is 0 and rules publish with a `key`/);
  for (const yaml of [`protocols: {socketio: {recovery: 1m}}\n${rule}`, rule.replace(', key: $1', '')]) {
    assert.doesNotMatch(run(['check', '--config', tempFile(t, 'c.yaml', yaml)]).err, /recovery is 0/);
  }
});

const documents = [
  ['broken YAML', 'http: [1, 2\nlimits: {', /:\d+:\d+: error/],
  ['an anchor', 'http: &a {listen: []}\n', /anchor/i],
  ['an alias', 'http: {listen: []}\nlimits: *a\n', /alias|anchor/i],
  ['a tag', 'node: {name: !!str x}\n', /tag/i],
  ['two documents', 'node: {name: a}\n---\nnode: {name: b}\n', /document/i],
  ['a key twice', 'node: {name: a}\nnode: {name: b}\n', /second time/],
  ['an IPv6 address without quotes', 'http: {trusted_proxies: [::1]}\n', /quot/i],
  ['a list where a map is', 'http: [1]\n', /http/],
  ['a missing variable', 'node: {name: "${RTB_TEST_MISSING}"}\n', /RTB_TEST_MISSING/],
  ['what this build does not have', 'auth: {issuer: x}\n', /auth\.issuer: not available/],
  ['rows without the log that they are made of', 'postgres: {url: "postgres://x"}\n', /postgres\.url.*kafka\.brokers/],
  ['two logs', 'kafka: {brokers: ["localhost:1"]}\nstorage: {path: x.db}\n', /storage\.path.*kafka\.brokers/],
  ['a public address', 'http: {listen: ["0.0.0.0:8000"]}\n', /http\.insecure_public/],
  ['a file that is not there', 'api: {keys: [{name: a, key_file: /does/not/exist}]}\n', /\/does\/not\/exist/],
];
for (const [name, yaml, pattern] of documents) {
  test(`check refuses ${name}`, (t) => {
    const { code, err } = run(['check', '--config', tempFile(t, 'c.yaml', yaml)]);
    assert.equal(code, 2, err);
    assert.match(err, pattern);
  });
}

test('check accepts JSON, variables, an empty file, and a byte order mark', (t) => {
  for (const body of ['{"node": {"name": "a"}, "limits": {"message": "1MiB"}}', 'node: {name: "${RTB_TEST_SET}-${RTB_TEST_UNSET:-fallback}"}', '', '\ufeffnode: {name: x}\n', '# only a comment\n']) {
    const { code, err, out } = run(['check', '--config', tempFile(t, 'c.yaml', body)], { env: { RTB_TEST_SET: 'yes' } });
    assert.equal(code, 0, `${body}: ${err}`);
    assert.match(out, /ok$/m);
  }
});

test('every configuration that is shipped is accepted', () => {
  const files = ['docs/examples', 'test/conformance', 'test/integration/config'].flatMap((dir) => readdirSync(path.join(ROOT, dir)).filter((f) => f.endsWith('.yaml')).map((f) => path.join(dir, f)));
  assert.ok(files.length >= 8);
  for (const file of files) {
    const { code, err } = run(['check', '--config', file], { env: { STORAGE: path.join('/tmp', 'unused.db') } });
    assert.equal(code, 0, `${file}: ${err}`);
  }
});

test('init: the sample is valid, and has every option', (t) => {
  const { code, out } = run(['init']);
  assert.equal(code, 0);
  const checked = run(['check', '--config', tempFile(t, 'sample.yaml', out)]);
  assert.equal(checked.code, 0, checked.err);
  const defaults = run(['config', '--defaults']).out.split('\n').filter(Boolean).map((line) => line.split(' ')[0]);
  assert.ok(defaults.length > 40);
  for (const option of defaults.filter((name) => !name.includes('[]'))) assert.match(out, new RegExp(`^\\s*#? ?-? ?${option.split('.').pop()}:`, 'm'), option);
});

test('flags win over the environment, that over the file, that over the default', (t) => {
  const file = tempFile(t, 'c.yaml', 'log: {level: warn}\nlimits: {message: 10KiB, channel_name: 100}\n');
  const env = { RTBROKER_LIMITS_MESSAGE: '20KiB', RTBROKER_LIMITS_CHANNEL_NAME: '50' };
  const { code, out, err } = run(['config', '--effective', '--config', file, '--set', 'limits.message=30KiB'], { env });
  assert.equal(code, 0, err);
  const line = (option) => out.split('\n').find((l) => l.startsWith(`${option} = `));
  assert.match(line('limits.message'), /= 30KiB +# .*--set/);
  assert.match(line('limits.channel_name'), /= 50 +# .*RTBROKER_LIMITS_CHANNEL_NAME/);
  assert.match(line('log.level'), /= warn +# .*c\.yaml:1:\d+/);
  assert.match(line('log.format'), /= auto +# default/);
});

test('--listen replaces the list and may be repeated', async (t) => {
  const file = tempFile(t, 'c.yaml', 'http: {listen: ["127.0.0.1:1"]}\n');
  const { out } = run(['config', '--config', file, '--listen', '127.0.0.1:7001', '--listen=[::1]:7002']);
  assert.match(out, /^http\.listen = \["127\.0\.0\.1:7001", "\[::1\]:7002"\]/m);
  assert.match(run(['--config', file, '--listen', '127.0.0.1:7001', '--listen', '127.0.0.1:7001']).err, /twice/);
  const two = await startBroker(t, { config: file, listen: ['127.0.0.1:0', '127.0.0.2:0'] });
  for (const address of two.addresses) {
    const [host, port] = address.split(':');
    assert.equal((await request(Number(port), '/healthz', { host })).status, 200);
  }
});

const ipv6 = Object.values(networkInterfaces()).flat().some((i) => i.address === '::1');
test('*:PORT is both IPv4 and IPv6, and takes a word of consent', { skip: !ipv6 && 'there is no IPv6 here' }, async (t) => {
  const file = tempFile(t, 'c.yaml', 'node: {name: x}\n');
  assert.equal(run(['--config', file, '--listen', '*:0']).code, 2);
  const broker = await startBroker(t, { config: file, listen: ['*:0'], set: { 'http.insecure_public': 'true' } });
  for (const host of ['127.0.0.1', '::1']) assert.equal((await request(broker.port, '/healthz', { host })).status, 200, host);
});

test('secrets are not shown', (t) => {
  const dir = tempDir(t);
  const keyFile = path.join(dir, 'key');
  writeFileSync(keyFile, 'secret-from-file\n');
  const file = path.join(dir, 'c.yaml');
  chmodSync(keyFile, 0o600);
  writeFileSync(file, `api: {keys: [{name: a, key: secret-inline}, {name: b, key_file: ${keyFile}}, {name: c, key: "\${SECRET}"}]}
cluster: {secret: secret-of-the-cluster}
redis: {url: "redis://:secret-redis@127.0.0.1"}
postgres: {url: "postgres://u:secret-postgres@127.0.0.1/db"}
kafka: {brokers: ["127.0.0.1:1"], conf: {sasl.password: secret-kafka}, consume: [{topics: [t], conf: {ssl.key.password: secret-consume}}]}
`);
  for (const dump of ['--effective', '--env', '--defaults']) {
    const { code, out, err } = run(['config', dump, '--config', file], { env: { SECRET: 'secret-from-env' } });
    assert.equal(code, 0, err);
    assert.doesNotMatch(out + err, /secret-/);
    if (dump !== '--env') continue;
    // A shell that reads it sets no secret to something else.
    for (const name of ['API_KEYS', 'CLUSTER_SECRET', 'REDIS_URL', 'POSTGRES_URL', 'KAFKA_CONF', 'KAFKA_CONSUME']) assert.match(out, new RegExp(`^# RTBROKER_${name}='.*\\*\\*\\*`, 'm'));
    assert.match(out, /^RTBROKER_KAFKA_BROKERS=/m);
  }
});

test('a file with secrets that everybody can read is warned of', (t) => {
  const file = tempFile(t, 'c.yaml', 'api: {keys: [{name: a, key: inline}]}\n');
  chmodSync(file, 0o644);
  assert.match(run(['check', '--config', file]).err, /c\.yaml:1:\d+: warning: .*secret/);
  chmodSync(file, 0o600);
  assert.doesNotMatch(run(['check', '--config', file]).err, /secret/);
});

test('a Redis on another machine needs a secret, or the word that none is wanted', (t) => {
  const yaml = (url, more = '') => tempFile(t, 'c.yaml', `redis: {url: "${url}"}\n${more}http: {listen: ["127.0.0.1:0"]}\n`);
  for (const command of ['check', 'serve'])
    for (const url of ['redis://10.0.0.5', 'redis://:p@redis:6379/2', 'redis://[fd00::1]:6379', 'redis://128.0.0.1']) {
      const { code, err } = run([command, '--config', yaml(url)]);
      assert.equal(code, 2, url);
      assert.match(err, /cluster\.secret is missing: .*cluster\.insecure: true/);
    }
  for (const url of ['redis://127.0.0.1', 'redis://127.1.2.3:1', 'redis://localhost/3', 'redis://[::1]', 'unix:///run/redis.sock'])
    assert.equal(run(['check', '--config', yaml(url)]).code, 0, url);
  for (const more of ['secret: s', 'insecure: true', 'secret: s, second_secret: t'])
    assert.equal(run(['check', '--config', yaml('redis://10.0.0.5', `cluster: {${more}}\n`)]).code, 0, more);
  assert.match(run(['check', '--config', yaml('redis://10.0.0.5', 'cluster: {second_secret: t, insecure: true}\n')]).err, /second_secret: needs cluster\.secret/);
  for (const name of ['a:b', 'x y', '..', 'n'.repeat(65)])
    assert.match(run(['check', '--config', yaml('redis://127.0.0.1', `cluster: {name: "${name}"}\n`)]).err, /cluster\.name: got/);
});

test('a key in a file opens the API', async (t) => {
  const keyFile = tempFile(t, 'key', 'file-key\n');
  const broker = await startBroker(t, { text: `http: {listen: ["127.0.0.1:0"]}\napi: {keys: [{name: a, key_file: ${keyFile}}]}\n` });
  assert.equal((await call(broker, 'info', {}, { key: 'file-key' })).status, 200);
  assert.equal((await call(broker, 'info', {}, { key: 'file-key\n'.trim().slice(1) })).status, 401);
});

// ---- the first minute ----

test('--dev says what it is, and what it prints to type works', async (t) => {
  const broker = await startBroker(t, { dev: true });
  await until('the banner is printed', () => /WebSocket/.test(broker.stdout));
  const banner = broker.stdout;
  assert.match(banner, /^rtbroker \d/m);
  assert.match(banner, new RegExp(`listening\\s+127\\.0\\.0\\.1:${broker.port}`));
  assert.match(banner, /Insecure on purpose/);
  assert.match(banner, new RegExp(`browser\\s+http://127\\.0\\.0\\.1:${broker.port}/`));
  // The lines to type, as a shell would take them.
  const [sub, pub] = ['sub', 'pub'].map((c) => new RegExp(`\\./rtbroker (${c} .*)$`, 'm').exec(banner)[1]);
  const words = (line) => line.match(/'[^']*'|\S+/g).map((w) => w.replace(/^'|'$/g, ''));
  const subscriber = background(t, [...words(sub), '--count', '1']);
  await until('it is subscribed', async () => (await ok(broker, 'channels', {}, { key: null })).channels['chat:lobby']);
  const published = run(words(pub));
  assert.equal(published.code, 0, published.err);
  assert.match(published.out, /"offset":1/);
  assert.equal(await within(5000, 'sub ends after one', subscriber.exit), 0);
  assert.deepEqual(subscriber.lines, ['{"text":"hi"}']);
});

test('without a file it runs like --dev, and says so', async (t) => {
  const broker = await startBroker(t, {});
  await until('the banner is printed', () => /Insecure on purpose/.test(broker.stdout));
  assert.ok(broker.log.some((line) => /no --config/.test(line)), broker.tail());
  const page = await request(broker.port, '/');
  assert.ok([200, 404].includes(page.status)); // the demo page is tested in a browser
});

test('with a file nothing is open', async (t) => {
  const broker = await startBroker(t, { text: 'http: {listen: ["127.0.0.1:0"]}\n' });
  assert.equal((await request(broker.port, '/')).status, 404);
  assert.equal((await call(broker, 'info', {})).status, 403);
  assert.equal(broker.stdout, '');
});

test('the log is JSON where it is no terminal, text when asked for, and its level is kept', async (t) => {
  const json = await startBroker(t, { text: 'http: {listen: ["127.0.0.1:0"]}\nnode: {name: n1}\n' });
  const [entry] = json.logged('listening');
  assert.deepEqual([entry.level, entry.comp, entry.node], ['info', 'app', 'n1']);
  assert.match(entry.ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const plain = background(t, ['--dev', '--listen', '127.0.0.1:0', '--set', 'log.format=text', '--set', 'node.name=n2']);
  await until('a line', () => /listening/.test(plain.err));
  assert.match(plain.err, /^\d{4}-\d\d-\d\dT\S+Z info +app +listening\b.*address=127\.0\.0\.1:\d+/m);
  const quiet = background(t, ['--dev', '--listen', '127.0.0.1:0', '--set', 'log.level=off']);
  await until('it listens', () => /listening/.test(quiet.out));
  assert.equal(quiet.err, '');
});

// ---- pub, sub, health ----

const API = `http: {listen: ["127.0.0.1:0"]}
api: {keys: [{name: a, key: test-key}]}
channels:
  - {match: "log:*", log: true, history: {size: 5}, subscribe: anyone, publish: anyone}
  - {match: "loose:*", subscribe: anyone, publish: anyone}
`;

test('pub: prints the answer, or why not', async (t) => {
  const broker = await startBroker(t, { text: API });
  const at = ['--url', broker.url];
  const first = run(['pub', 'log:x', '{"a": 1}', ...at, '--key', 'test-key', '--event', 'created', '--idempotency-key', 'k']);
  assert.equal(first.code, 0, first.err);
  assert.equal(JSON.parse(first.out).offset, 1);
  assert.equal(JSON.parse(run(['pub', 'log:x', '2', ...at, '--idempotency-key', 'k'], { env: { RTBROKER_API_KEY: 'test-key' } }).out).duplicate, true);
  assert.equal(run(['pub', 'loose:x', '"text"', '--key', 'test-key'], { env: { RTBROKER_URL: broker.url } }).out, '{}\n');
  const [message] = (await wholeLog(broker, 'log:x')).publications;
  assert.deepEqual([message.data, message.tags], [{ a: 1 }, { event: 'created' }]);
  const noKey = run(['pub', 'log:x', '1', ...at]);
  assert.equal(noKey.code, 1);
  assert.match(noKey.err, /401.*X-API-Key/);
  const noRule = run(['pub', 'other', '1', ...at, '--key', 'test-key']);
  assert.equal(noRule.code, 1);
  assert.match(noRule.err, /404.*channels/);
  assert.equal(run(['pub', 'log:x', '1', '--url', 'https://x']).code, 2);
});

test('sub: live, from a position, as whole publications', async (t) => {
  const broker = await startBroker(t, { text: API });
  const env = { RTBROKER_URL: broker.url, RTBROKER_API_KEY: 'test-key' };
  for (let n = 1; n <= 3; n++) await ok(broker, 'publish', { channel: 'log:s', data: { n } });
  const since = background(t, ['sub', 'log:s', '--since', '1', '--count', '2'], env);
  assert.equal(await within(5000, 'it ends', since.exit), 0);
  assert.deepEqual(since.lines, ['{"n":2}', '{"n":3}']);
  const live = background(t, ['sub', 'log:s', '--json'], env);
  await until('it is subscribed', async () => (await ok(broker, 'channels', {})).channels['log:s']);
  await ok(broker, 'publish', { channel: 'log:s', data: 'é "x"', event: 'e' });
  await until('a line', () => live.lines.length === 1);
  const message = JSON.parse(live.lines[0]);
  assert.deepEqual([message.data, message.offset, message.tags], ['é "x"', 4, { event: 'e' }]);
  for (let n = 0; n < 10; n++) await ok(broker, 'publish', { channel: 'log:s', data: n });
  const gap = background(t, ['sub', 'log:s', '--since', '1', '--count', '1'], env);
  assert.equal(await within(5000, 'it ends', gap.exit), 0);
  assert.match(gap.err, /no longer reaches back/);
  const once = background(t, ['sub', 'log:s', '--retry', '0'], env);
  await until('it is subscribed', async () => (await ok(broker, 'channels', {})).channels['log:s'].num_clients === 2);
  await broker.stop();
  assert.equal(await within(5000, 'sub ends with the broker', once.exit), 1);
  assert.match(once.err, /the broker ended the stream/);
  live.child.kill();
  const refused = background(t, ['sub', 'log:s'], env);
  assert.equal(await within(5000, 'it fails', refused.exit), 1);
  assert.match(refused.err, /is the broker running/);
});

test('sub: several channels, comes back after a cut with nothing missing, and says what it cannot know', async (t) => {
  const file = path.join(tempDir(t), 'log.db');
  const broker = await startBroker(t, { text: API, set: { 'storage.path': file } });
  const env = { RTBROKER_URL: broker.url, RTBROKER_API_KEY: 'test-key' };
  const publish = (channel, data) => ok(broker, 'publish', { channel, data });
  const subscribed = () => until('all are subscribed', async () => {
    const { channels } = await ok(broker, 'channels', {});
    return ['log:a', 'log:b', 'loose:c', 'log:*'].every((name) => channels[name]);
  }, 15_000);
  const sub = background(t, ['sub', 'log:a', 'log:b', 'loose:c', 'log:*'], env);
  const json = background(t, ['sub', 'log:a', 'log:b', '--json', '--count', '3'], env);
  await subscribed();
  await until('both are', async () => (await ok(broker, 'channels', {})).channels['log:b'].num_clients === 2);
  assert.match(sub.err, /"log:\*" is taken for the name of one channel/);
  await publish('log:a', 1);
  await publish('loose:c', 2);
  await until('both come', () => sub.lines.length === 2);
  // Killed: published from elsewhere before the streams are there again.
  await broker.kill();
  await until('it is noticed', () => /trying again/.test(sub.err));
  await broker.restart();
  await publish('log:a', 3);
  await publish('log:b', 4);
  await subscribed();
  await until('it says so', () => /connected again/.test(sub.err) && /loose:c: has no log, what was published meanwhile is missing/.test(sub.err), 15_000);
  assert.doesNotMatch(sub.err, /no longer reaches back/);
  await publish('loose:c', 5);
  await until('nothing is missing', () => sub.lines.length >= 5);
  assert.deepEqual([...sub.lines].sort(), ['log:a 1', 'log:a 3', 'log:b 4', 'loose:c 2', 'loose:c 5']);
  assert.equal(await within(5000, 'it has its three', json.exit), 0);
  assert.deepEqual(json.lines.map((line) => JSON.parse(line)).map(({ channel, data }) => `${channel} ${data}`).sort(), ['log:a 1', 'log:a 3', 'log:b 4']);
});

test('sub: a log that is gone after a cut is told', async (t) => {
  const broker = await startBroker(t, { text: API });
  const env = { RTBROKER_URL: broker.url, RTBROKER_API_KEY: 'test-key' };
  const sub = background(t, ['sub', 'log:m'], env);
  await until('it is subscribed', async () => (await ok(broker, 'channels', {})).channels['log:m']);
  await ok(broker, 'publish', { channel: 'log:m', data: 1 });
  await until('it comes', () => sub.lines.length === 1);
  await broker.kill();
  await broker.restart();
  await until('the gap is told', () => /log:m: the log no longer reaches back/.test(sub.err), 15_000);
  const short = background(t, ['sub', 'log:m', '--retry', '300ms'], env);
  await until('it is subscribed', async () => (await ok(broker, 'channels', {})).channels['log:m']?.num_clients === 2);
  await broker.stop();
  assert.equal(await within(10_000, 'it gives up', short.exit), 1);
});

test('pub: lines of standard input, until one is not taken', async (t) => {
  const broker = await startBroker(t, { text: API });
  const env = { RTBROKER_URL: broker.url, RTBROKER_API_KEY: 'test-key' };
  const fine = run(['pub', 'log:l', '-'], { env, input: '{"n":1}\n\n  {"n":2} \n"three"' });
  assert.equal(fine.code, 0, fine.err);
  assert.deepEqual(fine.out.trim().split('\n').map((line) => JSON.parse(line).offset), [1, 2, 3]);
  const bad = run(['pub', 'log:l'], { env, input: '4\nfive\n6\n' });
  assert.equal(bad.code, 2);
  assert.match(bad.err, /line 2 of standard input is no JSON/);
  assert.deepEqual((await wholeLog(broker, 'log:l')).publications.map((p) => p.data), [{ n: 1 }, { n: 2 }, 'three', 4]);
  const refused = run(['pub', 'other', '-'], { env, input: '1\n2\n' });
  assert.equal(refused.code, 1);
  assert.match(refused.err, /no rule for channel.*\n.*this was line 1 of standard input; what follows was not published/);
});

test('health: ready, not there, over a UNIX socket', async (t) => {
  const socket = path.join(tempDir(t), 's.sock');
  const broker = await startBroker(t, { text: API, listen: ['127.0.0.1:0', `unix:${socket}`] });
  assert.equal(run(['health', '--url', broker.url]).code, 0);
  assert.equal(run(['health', '--url', `unix:${socket}`]).code, 0);
  await broker.stop();
  const { code, err } = run(['health', '--url', broker.url]);
  assert.equal(code, 1);
  assert.notEqual(err, '');
});

// ---- stopping ----

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal}: clients are closed so that they come back, exit code 0`, async (t) => {
    const broker = await startBroker(t, { config: configPath('socketio.yaml') });
    const clients = {};
    for (const [name, options] of Object.entries(TRANSPORTS)) clients[name] = await settled(await connect(t, broker.url, options));
    const reasons = {};
    for (const [name, socket] of Object.entries(clients)) socket.on('disconnect', (reason) => (reasons[name] = reason));
    const start = performance.now();
    await broker.stop({ signal });
    assert.ok(performance.now() - start < 4000, 'it took too long');
    assert.equal(broker.logged('shutting down').length, 1);
    await broker.restart();
    for (const [name, socket] of Object.entries(clients)) {
      await until(`${name} is back`, () => reasons[name] && socket.connected, 10_000);
      assert.notEqual(reasons[name], 'io server disconnect', name);
      assert.equal(await socket.timeout(5000).emitWithAck('message-with-ack', 1), 1);
    }
  });
}

test('SIGTERM: raw peers get 1001, held polls and streams end', async (t) => {
  const broker = await startBroker(t, { config: configPath('raw.yaml') });
  const plain = new WebSocket(`ws://127.0.0.1:${broker.port}/raw/open:x`);
  await once(plain, 'open');
  const closed = once(plain, 'close');
  const { sid } = JSON.parse((await request(broker.port, '/engine.io/?EIO=4&transport=polling')).text.slice(1));
  const held = request(broker.port, `/engine.io/?EIO=4&transport=polling&sid=${sid}`);
  const stream = request(broker.port, '/api/stream?channel=open:x', { headers: { 'x-api-key': 'test-key' } });
  await until('the stream is there', async () => (await ok(broker, 'channels', {})).channels['open:x']?.num_clients === 2);
  await broker.stop();
  assert.equal((await closed)[0], 1001);
  const last = await held;
  assert.ok(last.text === '6' || last.status >= 400, `${last.status} ${last.text}`); // `1` is final for some clients
  assert.equal((await stream).status, 200);
});

test('SIGTERM: what is in flight is stored and answered, or certainly not stored', async (t) => {
  const dir = tempDir(t);
  const broker = await startBroker(t, { config: configPath('durable.yaml'), env: { STORAGE: path.join(dir, 'log.db') } });
  const socket = await connect(t, broker.url);
  const answers = [];
  for (let n = 0; n < 3000; n++) socket.timeout(10_000).emitWithAck('store', 'log:d', { n }).then((a) => answers.push({ n, ...a }), () => {});
  await until('some were answered', () => answers.length > 50);
  await broker.stop();
  await broker.restart();
  const stored = new Map((await wholeLog(broker, 'log:d')).publications.map((p) => [p.data.n, p.offset]));
  for (const { n, ok: fine, error, offset } of answers) {
    if (fine) assert.equal(stored.get(n), offset, `${n} was acknowledged`);
    else if (error === 'retry') assert.ok(!stored.has(n), `${n} was said not to be stored`);
  }
});

test('while it drains: not ready, alive, no new sessions; clients leave spread over the time', async (t) => {
  const broker = await startBroker(t, { config: configPath('socketio.yaml'), set: { 'shutdown.jitter': '1500ms' } });
  const times = [];
  const peers = [];
  for (let i = 0; i < 20; i++) peers.push(await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket'));
  for (const ws of peers) {
    await ws.nextText();
    ws.send(text('40'));
    await ws.nextText();
  }
  const watcher = await Tcp.open(broker.port);
  const start = performance.now();
  const leaving = peers.map(async (ws) => {
    await ws.nextClose(10_000);
    times.push(performance.now() - start);
    ws.destroy();
  });
  const stopped = broker.stop();
  await until('it drains', () => broker.logged('shutting down').length > 0);
  watcher.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n');
  const ready = await readResponse(watcher);
  assert.equal(ready.status, 503);
  assert.equal(JSON.parse(ready.text).serving, false);
  await Promise.all(leaving);
  watcher.destroy();
  await stopped;
  times.sort((a, b) => a - b);
  assert.ok(times[0] < 500, `the first after ${Math.round(times[0])} ms`);
  assert.ok(times.at(-1) > 700 && times.at(-1) < 3000, `the last after ${Math.round(times.at(-1))} ms`);
  const gaps = times.slice(1).map((time, i) => time - times[i]);
  assert.ok(Math.max(...gaps) < 700, 'all at once');
});

test('a second signal stops at once', async (t) => {
  const broker = await startBroker(t, { config: configPath('socketio.yaml'), set: { 'shutdown.jitter': '60s', 'shutdown.drain': '60s' } });
  const peers = [];
  for (let i = 0; i < 5; i++) peers.push(await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket'));
  defer(t, () => peers.forEach((ws) => ws.destroy()));
  broker.child.kill('SIGTERM');
  await until('it drains', () => broker.logged('shutting down').length > 0);
  assert.match(broker.logged('shutting down')[0].waits, /60000 ms \(shutdown\.jitter\).*shutdown\.drain.*a second signal skips/);
  const start = performance.now();
  await broker.stop();
  assert.ok(performance.now() - start < 3000);
  assert.equal(broker.logged('told a second time to stop: waits no longer').length, 1);
});

test('--dev: Ctrl-C ends within a second, whoever is connected', async (t) => {
  const b = background(t, ['--dev', '--listen', '127.0.0.1:0']);
  const port = Number((await until('it listens', () => /"address":"127\.0\.0\.1:(\d+)"/.exec(b.err)))[1]);
  for (const options of Object.values(TRANSPORTS)) await settled(await connect(t, `http://127.0.0.1:${port}`, { ...options, reconnection: false }));
  const idle = [await Ws.open(port, '/raw/x'), await Tcp.open(port)];
  const stream = await Tcp.open(port);
  stream.send('GET /api/stream?channel=x HTTP/1.1\r\nHost: x\r\n\r\n');
  await stream.until('the stream is open', () => stream.end > stream.start);
  defer(t, () => [...idle, stream].forEach((c) => c.destroy()));
  const start = performance.now();
  b.child.kill('SIGINT');
  assert.equal(await within(5000, 'it ends', b.exit), 0, b.err);
  const elapsed = performance.now() - start;
  assert.ok(elapsed < (SANITIZED ? 3000 : 1500), `${Math.round(elapsed)} ms`);
});

test('a signal at any moment: exit code 0, or none was listening yet', async (t) => {
  for (let i = 0; i < 10; i++) {
    const b = background(t, ['--dev', '--listen', '127.0.0.1:0']);
    // One for each line of the log: right behind "listening", while it drains, while it frees what is left.
    b.child.stderr.on('data', () => /"listening"/.test(b.err) && b.child.kill('SIGTERM'));
    assert.equal(await within(10_000, 'it ends', b.exit), 0, b.err);
  }
});

test('peers that do not answer cannot hold it up', async (t) => {
  const broker = await startBroker(t, { config: configPath('raw.yaml'), set: { 'shutdown.drain': '500ms' } });
  const mute = [];
  for (let i = 0; i < 10; i++) mute.push(await Ws.open(broker.port, '/raw/open:x'));
  for (let i = 0; i < 10; i++) mute.push({ tcp: await Tcp.open(broker.port), destroy() { this.tcp.destroy(); } });
  for (const ws of mute) ws.tcp.socket.pause();
  defer(t, () => mute.forEach((ws) => ws.destroy()));
  const start = performance.now();
  await broker.stop();
  const elapsed = performance.now() - start;
  assert.ok(elapsed < 5000, `${Math.round(elapsed)} ms`);
});

test('SIGTERM before anybody came', async (t) => {
  const broker = await startBroker(t, { config: configPath('raw.yaml') });
  const start = performance.now();
  await broker.stop();
  assert.ok(performance.now() - start < 1000);
});
