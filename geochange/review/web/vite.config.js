import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { defineConfig } from "vite";

/** Write the licences of all packages that are in the page beside it. */
function licences() {
  return {
    name: "licences",
    generateBundle(_, bundle) {
      const folders = new Set();
      for (const chunk of Object.values(bundle))
        for (const module of Object.keys(chunk.modules ?? {})) if (module.includes("/node_modules/")) folders.add(packageOf(module));
      const parts = [...folders].sort().map((folder) => {
        const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
        const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
        if (file === undefined) this.error(`${name} has no licence file`);
        return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
      });
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: parts.join(`\n${"-".repeat(78)}\n\n`) });
    },
  };
}

function packageOf(module) {
  let folder = dirname(module.split("?")[0]);
  while (!existsSync(join(folder, "package.json")) || !("version" in JSON.parse(readFileSync(join(folder, "package.json"), "utf8")))) folder = dirname(folder);
  return folder;
}

export default defineConfig({
  base: "./",
  plugins: [licences()],
  build: { outDir: "../page", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
