// Run the functions of student.html under node: node windows.mjs PAGE RUNTIME STUDENT SAMPLES SECONDS
// SAMPLES holds float32 at the rate of the student. The result is printed as JSON.
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [page, runtime, student, samples, seconds] = process.argv.slice(2);
const script = (await readFile(page, "utf8")).split('<script type="module">')[1].split("</script>")[0];
await writeFile(`${samples}.mjs`, script);
const { factsOf, windowsOf } = await import(pathToFileURL(`${samples}.mjs`));
const ort = await import(pathToFileURL(runtime));
const bytes = new Uint8Array(await readFile(student)), data = await readFile(samples);
const waveform = new Float32Array(data.buffer, data.byteOffset, data.length / 4);
const facts = factsOf(bytes), session = await ort.InferenceSession.create(bytes), rows = [];
for await (const row of windowsOf(ort, session, facts, waveform, Number(seconds))) rows.push(row);
console.log(JSON.stringify({ facts, rows }));
