// Run one ONNX file in onnxruntime-node, or in onnxruntime-web in a headless Chromium.
//
//     node runtime_node.mjs node|wasm|webgpu MODEL.onnx FEEDS OUT NAMES
//
// Started by runtimes.py in the folder that has node_modules. FEEDS and OUT are folders of arrays (see
// runtime_cases.py); NAMES are not needed. The last line printed is JSON: the seconds to open the file, and those of one run.
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { createRequire } from "node:module";

const require = createRequire(path.join(process.cwd(), "package.json"));
const [engine, model, feedsFolder, out] = process.argv.slice(2);
const feeds = JSON.parse(fs.readFileSync(path.join(feedsFolder, "tensors.json")));

// What the engines call an element type, and the array that holds it. float16 is read and written as its bits.
const KINDS = {
  float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array,
  int8: Int8Array, bool: Uint8Array, float16: Uint16Array,
};

function write(results) {
  fs.mkdirSync(out, { recursive: true });
  const rows = results.map(({ name, dtype, shape, bytes }, k) => {
    fs.writeFileSync(path.join(out, `${k}.bin`), bytes);
    return { name, dtype, shape, file: `${k}.bin` };
  });
  fs.writeFileSync(path.join(out, "tensors.json"), JSON.stringify(rows));
}

async function inNode() {
  const ort = require("onnxruntime-node");
  let begun = performance.now();
  const session = await ort.InferenceSession.create(model);
  const open = (performance.now() - begun) / 1000;
  const given = {};
  for (const { name, dtype, shape, file } of feeds) {
    const bytes = fs.readFileSync(path.join(feedsFolder, file));
    const data = new KINDS[dtype](new Uint8Array(bytes).buffer);
    given[name] = new ort.Tensor(dtype, data, shape);
  }
  begun = performance.now();
  const results = await session.run(given);
  const run = (performance.now() - begun) / 1000;
  write(session.outputNames.map((name) => {
    const { type, dims, data } = results[name];
    return { name, dtype: type, shape: dims, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  }));
  return { open, run };
}

// The page: it fetches the model and the arrays, and posts each output to the server.
const page = (module, provider) => `<!doctype html><script type="module">
import * as ort from "/${module}";
ort.env.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
ort.env.wasm.numThreads = 1;
const KINDS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array,
  uint8: Uint8Array, int8: Int8Array, bool: Uint8Array, float16: globalThis.Float16Array ?? Uint16Array };
try {
  const bytes = async (url) => await (await fetch(url)).arrayBuffer();
  const graph = new Uint8Array(await bytes("/model.onnx"));
  const given = {};
  for (const { name, dtype, shape, file } of ${JSON.stringify(feeds)}) {
    given[name] = new ort.Tensor(dtype, new KINDS[dtype](await bytes("/feeds/" + file)), shape);
  }
  let begun = performance.now();
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["${provider}"] });
  const open = (performance.now() - begun) / 1000;
  begun = performance.now();
  const results = await session.run(given);
  for (const name of session.outputNames) await results[name].getData();
  const run = (performance.now() - begun) / 1000;
  for (const name of session.outputNames) {
    const { type, dims, data } = results[name];
    const about = encodeURIComponent(JSON.stringify({ name, dtype: type, shape: dims }));
    await fetch("/result?" + about, { method: "POST", body: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
  }
  window.done = { open, run };
} catch (error) {
  window.done = { error: String(error.message ?? error) };
}
</script>`;

async function inBrowser(provider) {
  const puppeteer = (await import(require.resolve("puppeteer-core"))).default;
  const results = [];
  const module = `node_modules/onnxruntime-web/dist/ort${provider === "webgpu" ? ".webgpu" : ""}.min.mjs`;
  const types = { ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm" };
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/result") {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => {
        const about = JSON.parse(decodeURIComponent(url.search.slice(1)));
        results.push({ ...about, bytes: Buffer.concat(parts) });
        response.end();
      });
      return;
    }
    if (url.pathname === "/") {
      response.setHeader("content-type", "text/html");
      response.end(page(module, provider));
      return;
    }
    const file = url.pathname === "/model.onnx" ? model
      : url.pathname.startsWith("/feeds/") ? path.join(feedsFolder, path.basename(url.pathname))
      : path.join(process.cwd(), path.normalize(url.pathname));
    if (!fs.existsSync(file)) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader("content-type", types[path.extname(file)] ?? "application/octet-stream");
    fs.createReadStream(file).pipe(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const gpu = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--ignore-gpu-blocklist"];
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--headless=new", "--no-sandbox", ...(provider === "webgpu" ? gpu : [])],
    protocolTimeout: 1e9,
  });
  try {
    const tab = await browser.newPage();
    tab.on("console", (message) => console.error(message.text()));
    await tab.goto(`http://127.0.0.1:${server.address().port}/`);
    await tab.waitForFunction("window.done", { timeout: 0, polling: 200 });
    const done = await tab.evaluate("window.done");
    if (done.error) throw new Error(done.error);
    write(results);
    return done;
  } finally {
    await browser.close();
    server.close();
  }
}

try {
  console.log(JSON.stringify(engine === "node" ? await inNode() : await inBrowser(engine)));
  process.exit(0);
} catch (error) {
  console.error(error.message ?? String(error));
  process.exit(1);
}
