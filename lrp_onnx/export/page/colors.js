// Relevance as colors, as lrp-onnx draws it in Python.
import { place } from './prepare.js';

// Summed over channels, in parts of the 99.5th percentile of |relevance|, from -1 to 1.
export function sharesOf(data, settings) {
  const count = settings.width * settings.height;
  const sums = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    for (let c = 0; c < settings.channels; c++) sums[k] += data[place(settings, k, c)];
  }
  const sizes = sums.map(Math.abs).sort();
  const most = sizes[Math.floor(0.995 * (count - 1))] || 1;
  return sums.map((sum) => Math.max(-1, Math.min(1, sum / most)));
}

// From blue over white, which is 0, to red, as in the pictures that lrp-onnx draws.
const STOPS = [[8, 48, 107], [33, 113, 214], [255, 255, 255], [232, 40, 30], [103, 0, 13]];
function color(share) {
  const at = 2 * (share + 1), below = Math.min(3, Math.floor(at));
  return STOPS[below].map((low, c) => low + (at - below) * (STOPS[below + 1][c] - low));
}

export function colored(shares) {
  const rgba = new Uint8ClampedArray(shares.length * 4).fill(255);
  shares.forEach((share, k) => rgba.set(color(share), 4 * k));
  return rgba;
}

// The picture, a little paler, under relevance that covers it the more the larger it is.
export function overlay(picture, shares) {
  const rgba = new Uint8ClampedArray(picture);
  shares.forEach((share, k) => {
    const size = Math.abs(share);
    const covered = size ** 1.6 * 1.04 / (size + 0.04);
    const strong = color(Math.sign(share) * Math.max(size, 0.6));
    for (let c = 0; c < 3; c++) {
      const pale = 0.25 * 255 + 0.75 * picture[4 * k + c];
      rgba[4 * k + c] = (1 - covered) * pale + covered * strong[c];
    }
  });
  return rgba;
}
