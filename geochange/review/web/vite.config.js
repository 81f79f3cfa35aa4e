import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: { outDir: "../page", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
