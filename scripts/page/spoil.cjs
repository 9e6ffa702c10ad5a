// Makes a result hostile: names and texts that would be markup, and a GPU that was throttled.
const fs = require('fs');
const path = require('path');

const dir = process.argv[2];
const EVIL = '</script><script>window.hostile = 1</script><img src=x onerror="window.hostile = 2">{data}\u2028';
const file = path.join(dir, 'results.json');
const results = JSON.parse(fs.readFileSync(file, 'utf8'));
results.model.name = EVIL;
results.hardware.name = EVIL;
results.environment.cpu = EVIL;
const [run] = results.runs;
run.scenario.name = EVIL;
run.scenario.dataset = EVIL;
run.metrics.prompt = EVIL;
run.failures.push({ id: 0, reason: EVIL });
run.checks.push({ name: EVIL, ok: false, detail: EVIL });
run.not_observed.energy_j = EVIL;
fs.writeFileSync(file, JSON.stringify(results));

const requests = path.join(dir, 'requests.jsonl');
const lines = fs.readFileSync(requests, 'utf8').trim().split('\n').map(JSON.parse);
lines[0].error = EVIL;
fs.writeFileSync(requests, lines.map((line) => JSON.stringify(line) + '\n').join(''));

// The same samples, with a GPU in them that power held back in the middle.
const telemetry = path.join(dir, 'telemetry.csv');
const last = Math.max(...lines.flatMap((line) => line.tokens));
const head = 'time,cpu_percent,ram_percent,rss_bytes,gpu0_power_watts,gpu0_temperature_c,gpu0_sm_clock_mhz,gpu0_memory_clock_mhz,gpu0_utilization_percent,gpu0_throttle_bits';
const samples = Array.from({ length: 50 }, (_, at) => [(last * at) / 49, 90, 10, 1e8, 300 + at, 60, 2500, 10000, 99, at > 20 && at < 30 ? 4 : 0]);
fs.writeFileSync(telemetry, [head, ...samples.map((sample) => sample.join(','))].join('\n') + '\n');
