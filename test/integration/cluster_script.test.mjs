// scripts/run_cluster.sh itself: what it promises to who calls it, with as few servers as do.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

import { ROOT, defer, tempDir, test, until, within } from './harness.mjs';

const SCRIPT = path.join(ROOT, 'scripts', 'run_cluster.sh');
const FEW = ['--nodes', '2', '--without', 'redis,kafka,postgres'];

// Starts it with a folder of its own for scratch folders.
function start(t, args, env = {}) {
  const tmp = tempDir(t);
  const child = spawn(SCRIPT, args, { env: { ...process.env, TMPDIR: tmp, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  const it = { child, tmp, out: '', err: '' };
  child.stdout.on('data', (chunk) => (it.out += chunk));
  child.stderr.on('data', (chunk) => (it.err += chunk));
  it.exit = new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
  it.ends = () => within(60_000, 'the script ends', it.exit);
  defer(t, async () => {
    child.kill('SIGTERM');
    await it.ends();
  });
  return it;
}

const running = (pid) => existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
const pids = (text) => [...text.matchAll(/\(process (\d+)\)$/gm)].map((m) => Number(m[1]));

async function nothingIsLeft(it) {
  const all = pids(it.err);
  assert.ok(all.length >= 3, it.err);
  await until('all of its processes are gone', () => !all.some(running));
  assert.deepEqual(readdirSync(it.tmp), [], 'the scratch folder is gone');
}

test('run_cluster: --exec runs with all it needs, its status is the script\'s, nothing is left', async (t) => {
  const command = 'for u in $RT_URL $RT_NODES; do curl -s -o /dev/null -w "%{http_code} " "$u/socket.io/?EIO=4&transport=polling"; done; env | grep ^RT_; exit 7';
  const it = start(t, [...FEW, '--exec', command]);
  assert.equal(await it.ends(), 7, it.err);
  assert.match(it.out, /^200 200 200 /);
  for (const name of ['RT_URL', 'RT_NODES', 'RT_PIDS', 'RT_API_KEY', 'RT_CLUSTER_DIR']) assert.match(it.out, new RegExp(`^(200 )*${name}=.`, 'm'));
  assert.doesNotMatch(it.out, /RT_REDIS_URL|RT_KAFKA|RT_POSTGRES/);
  await nothingIsLeft(it);
});

test('run_cluster: actions of the command', async (t) => {
  const command = `
    set -e
    port() { cat "$RT_CLUSTER_DIR/$1/port"; }
    pid() { cat "$RT_CLUSTER_DIR/$1/pid"; }
    before=$(pid n2) at=$(port n2)
    "${SCRIPT}" kill n2; ! kill -0 $before; [ "$(cat "$RT_CLUSTER_DIR/n2/status")" = 137 ]
    "${SCRIPT}" start n2; [ "$(port n2)" = $at ]; curl -sf http://127.0.0.1:$at/readyz
    "${SCRIPT}" pause n2; grep -q '^State:.T' /proc/$(pid n2)/status
    "${SCRIPT}" resume n2; curl -sf http://127.0.0.1:$at/readyz
    "${SCRIPT}" stop n2; [ "$(cat "$RT_CLUSTER_DIR/n2/status")" = 0 ]
    ! "${SCRIPT}" stop n2; ! "${SCRIPT}" kill n9; ! "${SCRIPT}" start n1
    "${SCRIPT}" set n2 limits.message=1KiB; "${SCRIPT}" start n2; tr '\\0' ' ' </proc/$(pid n2)/cmdline | grep -q 'limits.message=1KiB'
    ! "${SCRIPT}" set n9 limits.message=1KiB; ! "${SCRIPT}" set n2
    "${SCRIPT}" stop nginx; "${SCRIPT}" start nginx; curl -sf "$RT_URL/socket.io/?EIO=4&transport=polling"
    echo WELL`;
  const it = start(t, [...FEW, '--exec', command]);
  assert.equal(await it.ends(), 0, it.err);
  assert.match(it.out, /WELL\n$/);
  assert.match(it.err, /n2 does not run\n[^]*no part n9 in this cluster[^]*n1 runs already[^]*no node n9 in this cluster[^]*set which node/);
  await nothingIsLeft(it);
});

test('run_cluster: SIGTERM and SIGHUP end everything, the command too', async (t) => {
  for (const [signal, status] of [['SIGTERM', 143], ['SIGHUP', 129]]) {
    const it = start(t, [...FEW, '--exec', 'sleep 1000 & echo SLEEPS $!; wait']);
    await until('the command runs', () => /^SLEEPS \d+$/m.test(it.out), 60_000);
    const sleeper = Number(/^SLEEPS (\d+)$/m.exec(it.out)[1]);
    it.child.kill(signal);
    assert.equal(await it.ends(), status);
    assert.ok(!running(sleeper));
    await nothingIsLeft(it);
  }
});

test('run_cluster: a node that ends badly is told of', async (t) => {
  const it = start(t, [...FEW, '--exec', 'kill -ABRT "$(cat "$RT_CLUSTER_DIR/n1/pid")"']);
  assert.equal(await it.ends(), 1);
  assert.match(it.err, /n1 has ended with 134/);
});

test('run_cluster: --keep leaves it running, down ends it', async (t) => {
  const it = start(t, [...FEW, '--keep']);
  const status = await it.ends();
  const alive = pids(it.err).map(running);
  const down = start(t, ['down'], { RT_CLUSTER_DIR: path.join(it.tmp, readdirSync(it.tmp)[0]) });
  assert.equal(await down.ends(), 0, down.err);
  assert.equal(status, 0, it.err);
  assert.deepEqual(alive, [true, true, true]);
  await nothingIsLeft(it);
});

test('run_cluster: what cannot be is said, and nothing is left', async (t) => {
  const rows = [
    [['--nodes', '0'], {}, 2, /--nodes 0: 1 to 99 are possible/],
    [['--brokers', '10'], {}, 2, /--brokers 10: 1 to 9 are possible/],
    [['--without', 'mysql'], {}, 2, /--without mysql: nginx, redis, kafka and postgres are possible/],
    [['--exec'], {}, 2, /--exec needs a value/],
    [['--what'], {}, 2, /unknown argument --what/],
    [['kill', 'n1'], { RT_CLUSTER_DIR: '' }, 2, /RT_CLUSTER_DIR does not say which cluster/],
    [['--without', 'redis,postgres'], { KAFKA_HOME: '/nonexistent' }, 77, /KAFKA_HOME=\/nonexistent has no libs/],
    [FEW, { RTBROKER: '/nonexistent/rtbroker' }, 1, /no broker at \/nonexistent\/rtbroker/],
    [[...FEW, '--config', '/nonexistent.yaml'], {}, 1, /cannot read \/nonexistent.yaml/],
    [[...FEW, '--set', 'http.lisen=x'], {}, 1, /did you mean http.listen[^]*n1 has ended; its log ends above/],
  ];
  for (const [args, env, status, text] of rows) {
    const it = start(t, args, env);
    assert.equal(await it.ends(), status, `${args}: ${it.err}`);
    assert.match(it.err, text);
    assert.deepEqual(readdirSync(it.tmp), []);
  }
});

test('run_cluster: nothing is left when its caller is gone and there is something to tell', async (t) => {
  const it = start(t, ['--nodes', '2', '--without', 'nginx,kafka,postgres', '--set', 'channels=[{match: "*", log: false}]', '--exec', 'echo READY; exec cat >/dev/null']);
  await until('it is up', () => /^READY$/m.test(it.out), 60_000);
  const node = Number(/^n1 .*\(process (\d+)\)$/m.exec(it.err)[1]);
  process.kill(node, 'SIGABRT'); // it ends badly, which the script says
  await until('the node is gone', () => !running(node));
  it.child.stdout.destroy();
  it.child.stderr.destroy();
  it.child.stdin.end();
  assert.equal(await it.ends(), 1);
  await nothingIsLeft(it);
});
