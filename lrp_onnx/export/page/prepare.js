// A picture's pixels as the model's input, as Python and Pillow prepare it, in whole pixel values.
const DIGITS = 2 ** 22;  // Pillow's weights have 22 binary digits
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

// Half of the width, and the weight at distance x, of each filter.
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? -0.5 * (((d - 5) * d + 8) * d - 4) : 0;
  }],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

// For each of `to` places the first of the `from` places that count there, and their weights.
function weights(from, to, interpolation) {
  const scale = from / to;
  const [half, filter] = FILTERS[interpolation];
  const broad = Math.max(scale, 1);
  return Array.from({ length: to }, (_, k) => {
    const center = (k + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - half * broad + 0.5));
    const end = Math.min(from, Math.trunc(center + half * broad + 0.5));
    const own = [];
    for (let j = first; j < end; j++) own.push(filter((j - center + 0.5) * (1 / broad)));
    const sum = own.reduce((a, b) => a + b, 0);
    return [first, own.map((w) => Math.trunc((w / sum) * DIGITS + (w < 0 ? -0.5 : 0.5)))];
  });
}

// Along one axis: `count` lines of `from` places, a step apart, become lines of `to` places.
function along(pixels, lines, from, to, step, lineOf, interpolation) {
  const out = new Uint8Array(lines.length * to);
  const table = interpolation === 'nearest' ? null : weights(from, to, interpolation);
  lines.forEach((line) => {
    let place = (from / to) * 0.5;
    for (let k = 0; k < to; k++, place += from / to) {
      let value;
      if (table === null) {
        value = pixels[line + step * Math.floor(place)];
      } else {
        const [first, own] = table[k];
        let sum = DIGITS / 2;
        for (let j = 0; j < own.length; j++) sum += own[j] * pixels[line + step * (first + j)];
        value = Math.min(255, Math.max(0, Math.floor(sum / DIGITS)));
      }
      out[lineOf(line, k)] = value;
    }
  });
  return out;
}

// {data, height, width, channels}: channels side by side, as a canvas has them.
function resized(picture, height, width, interpolation) {
  const { channels } = picture;
  const across = [];
  for (let k = 0; k < picture.height; k++) {
    for (let c = 0; c < channels; c++) across.push(k * picture.width * channels + c);
  }
  const wide = along(picture.data, across, picture.width, width, channels, (line, k) => {
    const row = Math.floor(line / (picture.width * channels));
    return (row * width + k) * channels + (line % channels);
  }, interpolation);
  const down = Array.from({ length: width * channels }, (_, k) => k);
  const data = along(wide, down, picture.height, height, width * channels,
    (line, k) => k * width * channels + line, interpolation);
  return { data, height, width, channels };
}

// Python rounds halves to even numbers.
function rounded(x) {
  const near = Math.floor(x + 0.5);
  return near - x === 0.5 && near % 2 ? near - 1 : near;
}

function fitted(picture, settings) {
  const { height, width } = settings;
  const { fit, interpolation, crop, fill } = settings.preprocess;
  const same = picture.height === height && picture.width === width;
  if (same && fit !== 'center-crop') return picture;
  if (fit === 'resize') return resized(picture, height, width, interpolation);
  const ratios = [width / picture.width, height / picture.height];
  const ratio = fit === 'letterbox' ? Math.min(...ratios) : Math.max(...ratios) / crop;
  const [h, w] = [picture.height, picture.width].map((n) => Math.max(1, rounded(n * ratio)));
  const part = h === picture.height && w === picture.width
    ? picture : resized(picture, h, w, interpolation);
  const [top, left] = [Math.floor((height - h) / 2), Math.floor((width - w) / 2)];
  const { channels } = picture;
  const data = new Uint8Array(height * width * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = y >= top && y < top + h && x >= left && x < left + w;
      for (let c = 0; c < channels; c++) {
        data[(y * width + x) * channels + c] = inside
          ? part.data[((y - top) * w + x - left) * channels + c] : fill[c % fill.length];
      }
    }
  }
  return { data, height, width, channels };
}

function gray(picture) {
  const data = new Uint8Array(picture.height * picture.width);
  for (let k = 0; k < data.length; k++) {
    const [r, g, b] = picture.data.subarray(3 * k, 3 * k + 3);
    data[k] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
  }
  return { ...picture, data, channels: 1 };
}

// Where a channel of a pixel stands in the model's input.
export function place(settings, pixel, channel) {
  return settings.axes === 'NCHW'
    ? channel * settings.width * settings.height + pixel : pixel * settings.channels + channel;
}

export function prepared(picture, settings) {
  const own = fitted(settings.channels === 1 ? gray(picture) : picture, settings);
  const { scale, mean, std, order } = settings.preprocess;
  const count = settings.height * settings.width;
  const values = new (settings.dtype === 'uint8' ? Uint8Array : Float32Array)(
    count * settings.channels);
  for (let k = 0; k < count; k++) {
    for (let c = 0; c < settings.channels; c++) {
      const color = order === 'BGR' ? settings.channels - 1 - c : c;
      const pixel = own.data[k * settings.channels + color];
      const value = (pixel * scale - mean[c % mean.length]) / std[c % std.length];
      values[place(settings, k, c)] = settings.dtype === 'uint8' ? rounded(value) : value;
    }
  }
  return values;
}
