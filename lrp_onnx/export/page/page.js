// Explains a picture with the models of this folder; settings.json says what they take.
import { place, prepared } from './prepare.js';

const settings = await (await fetch('settings.json')).json();
const ort = await import(new URL(settings.runtime + 'ort.webgpu.min.mjs', location.href));
ort.env.wasm.wasmPaths = new URL(settings.runtime, location.href).href;

const at = (id) => document.getElementById(id);
const sessions = new Map();
const BEST = 20;
let picture = null;
let working = Promise.resolve();

function say(text, wrong = false) {
  at('state').textContent = text;
  at('state').className = wrong ? 'wrong' : '';
}

// WebGPU where there is an adapter, else wasm; one that refuses the model is told, not hidden.
async function opened(file) {
  if (sessions.has(file)) return sessions.get(file);
  const adapter = navigator.gpu ? await navigator.gpu.requestAdapter() : null;
  let on = 'wasm', note = '';
  let session = null;
  if (adapter && !new URLSearchParams(location.search).has('wasm')) {
    try {
      session = await ort.InferenceSession.create(file, { executionProviders: ['webgpu'] });
      on = 'WebGPU';
    } catch (error) {
      note = `; WebGPU refused the model: ${error.message}`;
    }
  }
  session ??= await ort.InferenceSession.create(file, { executionProviders: ['wasm'] });
  sessions.set(file, { session, on, note });
  return sessions.get(file);
}

async function pixelsOf(blob) {
  const options = { colorSpaceConversion: 'none', imageOrientation: 'from-image' };
  const bitmap = await createImageBitmap(blob, options);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = 'white';  // what is transparent becomes white
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(rgba.length / 4 * 3);
  for (let k = 0; k < rgba.length / 4; k++) data.set(rgba.subarray(4 * k, 4 * k + 3), 3 * k);
  return { data, width, height, channels: 3 };
}

function largest(scores) {
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
  return order.slice(0, BEST);
}

const nameOf = (index) => settings.labels?.[index] ?? `class ${index}`;

async function run(model, input, target) {
  const feeds = { [settings.input]: input };
  if (settings.target) feeds.target = new ort.Tensor('int64', [BigInt(target)], [1]);
  const began = performance.now();
  const results = await model.session.run(feeds);
  return { results, milliseconds: performance.now() - began };
}

// chosen: a class, or null for the largest.
async function explain(chosen) {
  if (picture === null) return;
  say('working');
  const input = new ort.Tensor(settings.dtype, prepared(picture, settings), settings.shape);
  const model = await opened(at('composite').value);
  let { results, milliseconds } = await run(model, input, chosen ?? 0);
  const scores = results[settings.output].data;
  const best = settings.target ? largest(scores) : [];
  if (settings.target && chosen === null && best[0] !== 0) {
    ({ results, milliseconds } = await run(model, input, best[0]));
  }
  const explained = settings.target ? chosen ?? best[0] : null;
  show(input, results[settings.relevance], scores, best, explained);
  say(`${milliseconds.toFixed(0)} ms on ${model.on}${model.note}`);
  globalThis.explanation = {
    on: model.on, explained, input: Array.from(input.data), scores: Array.from(scores),
    relevance: Array.from(results[settings.relevance].data),
  };
}

function show(input, relevance, scores, best, explained) {
  at('class').replaceChildren(...best.map((index) => {
    const option = new Option(`${nameOf(index)}: ${scores[index].toFixed(3)}`, index);
    option.selected = index === explained;
    return option;
  }));
  at('answer').textContent = best.length
    ? `Predicted: ${nameOf(best[0])}. Explained: ${nameOf(explained)}.` : '';
  drawn(at('seen'), seen(input.data));
  drawn(at('map'), colors(relevance.data));
}

function drawn(canvas, rgba) {
  canvas.width = settings.width;
  canvas.height = settings.height;
  canvas.getContext('2d').putImageData(new ImageData(rgba, settings.width, settings.height), 0, 0);
}

// The picture as the model saw it: its values between the ends that pixels can have.
function seen(data) {
  const rgba = new Uint8ClampedArray(settings.width * settings.height * 4).fill(255);
  for (let k = 0; k < rgba.length / 4; k++) {
    for (let c = 0; c < 3; c++) {
      const own = settings.preprocess.order === 'BGR' ? 2 - c : c;
      const channel = settings.channels === 1 ? 0 : own;
      const low = settings.low[channel % settings.low.length];
      const high = settings.high[channel % settings.high.length];
      rgba[4 * k + c] = 255 * (data[place(settings, k, channel)] - low) / (high - low);
    }
  }
  return rgba;
}

// Summed over channels; white is 0, red the largest, blue as much below.
function colors(data) {
  const count = settings.width * settings.height;
  const sums = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    for (let c = 0; c < settings.channels; c++) sums[k] += data[place(settings, k, c)];
  }
  const sizes = sums.map(Math.abs).sort();
  const most = sizes[Math.floor(0.995 * (count - 1))] || 1;
  const rgba = new Uint8ClampedArray(count * 4).fill(255);
  for (let k = 0; k < count; k++) {
    const part = Math.max(-1, Math.min(1, sums[k] / most));
    const end = part > 0 ? [180, 4, 38] : [59, 76, 192];
    for (let c = 0; c < 3; c++) rgba[4 * k + c] = 255 + (end[c] - 255) * Math.abs(part);
  }
  return rgba;
}

// One thing at a time; what goes wrong is shown.
function next(work) {
  working = working.then(work).catch((error) => {
    say(error.message, true);
    console.error(error);
  });
  return working;
}

async function take(blob) {
  if (!blob) return;
  await next(async () => {
    picture = await pixelsOf(blob);
    await explain(null);
  });
}

at('composite').replaceChildren(...settings.models.map(({ name, file }) => new Option(name, file)));
at('composites').hidden = settings.models.length < 2;
at('classes').hidden = !settings.target;
at('file').onchange = (event) => take(event.target.files[0]);
at('class').onchange = (event) => next(() => explain(Number(event.target.value)));
at('composite').onchange = () => next(() => explain(
  settings.target && at('class').value ? Number(at('class').value) : null));
const drop = at('drop');
document.ondragover = (event) => { event.preventDefault(); drop.className = 'over'; };
document.ondragleave = () => { drop.className = ''; };
document.ondrop = (event) => {
  event.preventDefault();
  drop.className = '';
  take(event.dataTransfer.files[0]);
};
say('ready');
