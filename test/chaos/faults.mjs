// What fails when: made from a seed, so that a run can be had again (as far as a machine repeats itself).
const KILL = ['node', 'redis', 'kafka', 'postgres'];

// xorshift128+ would do as well; this one is splitmix32.
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 4294967296;
  };
  return {
    next,
    below: (n) => Math.floor(next() * n),
    between: (a, b) => Math.round(a + next() * (b - a)),
    pick: (list) => list[Math.floor(next() * list.length)],
  };
}

export function shuffle(list, rand) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = rand.below(i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

// Each kind of part once when there are faults enough, then nodes as often as all others together.
function choose(how, count, services, rand) {
  const kinds = KILL.filter((kind) => kind === 'node' || services.includes(kind));
  const all = count >= kinds.length ? [...kinds] : [];
  while (all.length < count) all.push(rand.next() < 0.5 ? 'node' : rand.pick(kinds));
  return all.map((kind) => ({ how, kind }));
}

// Groups of faults, in order: [{ at, faults: [{ how: kill|pause, part, after, down }] }]. A group begins when `at` messages have been acknowledged and all is
// well; its faults begin `after` ms later and last `down` ms. Faults of one group overlap.
export function plan({ seed, publishes, kills, pauses, nodes, services, longest = 8000 }) {
  const rand = random(seed);
  const faults = shuffle([...choose('kill', kills, services, rand), ...choose('pause', pauses, services, rand)], rand);
  const groups = [];
  for (const { how, kind } of faults) {
    const part = kind === 'node' ? `n${1 + rand.below(nodes)}` : kind;
    const fault = { how, part, after: 0, down: rand.between(0, longest) };
    const last = groups.at(-1);
    if (last && last.faults.length === 1 && last.faults[0].part !== part && rand.next() < 0.3) {
      fault.after = rand.between(0, last.faults[0].down);
      last.faults.push(fault);
    } else {
      groups.push({ faults: [fault] });
    }
  }
  groups.forEach((group, i) => (group.at = Math.floor((publishes * (i + 0.1 + 0.7 * rand.next())) / groups.length)));
  return groups;
}

export const tell = (group) => `${group.at}: ${group.faults.map((f) => `${f.how} ${f.part} for ${f.down} ms${f.after ? ` after ${f.after} ms` : ''}`).join(', ')}`;
