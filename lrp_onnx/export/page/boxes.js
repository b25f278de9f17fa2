// The box of a detection as a place in the picture, as answer/detection.py finds it in Python.
const NEARLY_ALL = 0.95;  // of all boxes decide: a few in the background may be anything
const PARTS = 2.0;        // numbers no larger are parts of the picture's sides, larger ones pixels
const FASTER = 2.0;       // times more the one coordinate changes along the rows of a grid

const share = (rows, holds) => rows.filter(holds).length / rows.length;

// Left, top, right and bottom in parts of width and height; null where the numbers are no place.
// rows: the four numbers of every box. own: those of the one that is drawn.
export function cornersOf(rows, own, height, width) {
  const known = rows.filter((row) => row.every(Number.isFinite) && row.some((v) => v !== 0));
  if (!known.length || !own.every(Number.isFinite)) return null;
  const parts = known.every((row) => Math.max(...row) <= PARTS);
  const ends = share(known, ([a, b, c, d]) => c >= a && d >= b) >= NEARLY_ALL;
  const largest = parts ? 1 : Math.max(height, width);
  const inside = ([x, y, w, h]) => Math.min(x, y, w, h) >= 0 && Math.max(x, y) <= largest;
  if (!ends && share(known, inside) < NEARLY_ALL) return null;
  const centers = known.map(([a, b, c, d]) => (ends ? [(a + c) / 2, (b + d) / 2] : [a, b]));
  let xFirst = isXFirst(centers);
  if (xFirst === null && parts && ends) return null;  // TensorFlow writes y first, others x
  xFirst ??= true;
  const [first, second] = [own.slice(0, 2), own.slice(2)];
  const low = ends ? first : first.map((v, k) => v - second[k] / 2);
  const high = ends ? second : first.map((v, k) => v + second[k] / 2);
  const [x, y] = xFirst ? [0, 1] : [1, 0];
  const [across, down] = parts ? [1, 1] : [width, height];
  const box = [low[x] / across, low[y] / down, high[x] / across, high[y] / down];
  const [left, top, right, bottom] = box.map((v) => Math.min(Math.max(v, 0), 1));
  return left < right && top < bottom ? [left, top, right, bottom] : null;
}

// Whether the first of two coordinates runs along the rows of a grid; null without a grid.
function isXFirst(centers) {
  if (centers.length < 2) return null;
  const steps = [0, 1].map((k) => {
    const values = centers.map((center) => center[k]);
    let [least, most, moved] = [Infinity, -Infinity, 0];
    values.forEach((v, n) => {
      [least, most] = [Math.min(least, v), Math.max(most, v)];
      if (n) moved += Math.abs(v - values[n - 1]);
    });
    return moved / (values.length - 1) / (most > least ? most - least : 1);
  });
  if (steps[0] > FASTER * steps[1]) return true;
  return steps[1] > FASTER * steps[0] ? false : null;
}
