// Explains a picture with the models of this folder; settings.json says what they take.
import { cornersOf } from './boxes.js';
import { colored, overlay, sharesOf } from './colors.js';
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

// Shares of 1, or each from 0 to 1, as sigmoids give, are probabilities; else the softmax's.
function probabilities(scores) {
  const [low, high, sum] = [Math.min(...scores), Math.max(...scores), scores.reduce((a, b) => a + b)];
  if (low >= 0 && (high <= 1 || Math.abs(sum - 1) < 1e-3)) return Array.from(scores);
  const powers = Array.from(scores, (score) => Math.exp(score - high));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / total);
}

const percent = (part) => `${(100 * part).toFixed(2)}%`;

// Of a detection the class with the largest score, the score, and its box as a place.
function detected({ data, dims }) {
  const { axis, scores: [first, stop], objectness, box } = settings.head;
  const stride = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  let best = { weight: -Infinity };
  for (let k = 0; k < data.length; k++) {
    const index = Math.floor(k / stride) % dims[axis];
    if (index < first || index >= stop) continue;
    const sure = objectness === null ? 1 : data[k + (objectness - index) * stride];
    const weight = data[k] * sure;
    if (weight > best.weight) best = { weight, index: index - first, at: k - index * stride, score: data[k] };
  }
  const words = `${nameOf(best.index)}, ${best.score.toPrecision(3)}`;
  const numbers = (at) => [0, 1, 2, 3].map((k) => data[at + k * stride]);
  const rows = [];
  for (let k = 0; box && k < data.length; k++) {
    if (Math.floor(k / stride) % dims[axis] === 0) rows.push(numbers(k));
  }
  return { words, box: box ? cornersOf(rows, numbers(best.at), settings.height, settings.width) : null };
}

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
  const box = show(input, results, best, explained);
  say(`${milliseconds.toFixed(0)} ms on ${model.on}${model.note}`);
  globalThis.explanation = {
    on: model.on, explained, box, input: Array.from(input.data), scores: Array.from(scores),
    relevance: Array.from(results[settings.relevance].data),
  };
}

function show(input, results, best, explained) {
  const parts = best.length ? probabilities(results[settings.output].data) : [];
  const told = (index) => `${nameOf(index)}, ${percent(parts[index])}`;
  at('class').replaceChildren(...best.map((index) => {
    const option = new Option(told(index), index);
    option.selected = index === explained;
    return option;
  }));
  const found = settings.head ? detected(results[settings.output]) : { words: '', box: null };
  at('answer').textContent = found.words || answer(best, explained, told);
  const [own, shares] = [seen(input.data), sharesOf(results[settings.relevance].data, settings)];
  at('pictures').hidden = false;
  drawn(at('seen'), own, found.box);
  drawn(at('map'), colored(shares), found.box);
  drawn(at('over'), overlay(own, shares), found.box);
  return found.box;
}

function answer(best, explained, told) {
  if (!best.length) return '';
  if (explained === best[0]) return told(explained);
  return `${told(explained)}, in place of the prediction ${told(best[0])}`;
}

function drawn(canvas, rgba, box) {
  const { width, height } = settings;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d');
  context.putImageData(new ImageData(rgba, width, height), 0, 0);
  if (!box) return;
  const thin = Math.max(1, Math.round(Math.max(width, height) / 160));
  const [left, top, right, bottom] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
  for (const [line, color] of [[3 * thin, 'white'], [thin, '#1a1a1a']]) {  // seen on every photo
    [context.lineWidth, context.strokeStyle] = [line, color];
    context.strokeRect(left, top, right - left, bottom - top);
  }
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
