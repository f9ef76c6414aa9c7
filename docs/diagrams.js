// Draws the diagrams of a page in its colours, and again when these change. What has drawn nothing leaves their text.
(() => {
  const diagrams = [...document.querySelectorAll("pre.mermaid")].map((place) => [place, place.textContent]);
  const wide = matchMedia("(min-width: 46em)"); // what does not fit a telephone is moved
  const system = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const chosen = document.body.dataset.theme;
    const dark = chosen === "dark" || (chosen !== "light" && system.matches);
    for (const [place, text] of diagrams) {
      place.removeAttribute("data-processed");
      place.textContent = text;
    }
    mermaid.initialize({
      startOnLoad: false,
      theme: dark ? "dark" : "neutral",
      themeVariables: { fontSize: "14px" },
      flowchart: { useMaxWidth: wide.matches, nodeSpacing: 20, rankSpacing: 30, padding: 8 },
    });
    mermaid.run({ nodes: diagrams.map(([place]) => place) });
  };
  draw();
  system.addEventListener("change", draw);
  new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-theme"] });
})();
