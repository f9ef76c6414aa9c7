"""How the page of a status looks: on a screen of either scheme, on a telephone, and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de; --track: #8c959f;
  --panel: #f6f8fa; --ok: #1a7f37; --due: #8a5a00; --overdue: #cf222e; --broken: #a40e26; }
@media screen and (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e6edf3; --quiet: #9da7b3; --line: #3d444d;
  --track: #6e7681; --panel: #161b22; --ok: #4ac26b; --due: #e3b341; --overdue: #ff7b72; --broken: #ffa198; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem 1.25rem 3rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.3; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; } p { margin: .25rem 0; } ol { margin: .5rem 0; padding-left: 1.5rem; } li { margin: .15rem 0; }
a { color: inherit; } .quiet { color: var(--quiet); font-weight: 400; } code { font-size: .85em; }
.state { font-weight: 700; } .ok, .proved, .signed { color: var(--ok); } .due { color: var(--due); }
.overdue, .open { color: var(--overdue); } .broken { color: var(--broken); }
:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }

fieldset { border: 1px solid var(--line); border-radius: .4rem; margin: .75rem 0; padding: .25rem .75rem .5rem;
  display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; } legend { color: var(--quiet); padding: 0 .25rem; }
fieldset span { display: inline-flex; align-items: center; gap: .4rem; min-height: 1.75rem; }
input { width: 1.1rem; height: 1.1rem; margin: 0; }
label { display: inline-flex; align-items: center; gap: .35rem; cursor: pointer; }

svg { fill: currentColor; stroke: currentColor; } svg text { stroke: none; fill: var(--quiet); font-size: .75rem; text-anchor: middle; }
.axis, .life { display: block; width: 100%; overflow: visible; } .lines { padding: 0 .75rem; }
.secret { border-top: 1px solid var(--line); padding: .5rem 0 .25rem; break-inside: avoid; }
.tick { stroke: var(--line); } .track { stroke: var(--track); stroke-width: 2; }
.now { stroke: var(--text); stroke-dasharray: 3 3; } .thin { fill: none; stroke-width: 2.5; }
.hollow { fill: var(--page); stroke-width: 2; } .down { stroke-width: 5; } .lasting { stroke-width: 4; stroke-linecap: round; }
.lasting.open { stroke-dasharray: 1 7; }

table { width: 100%; border-collapse: collapse; } caption { text-align: left; color: var(--quiet); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-top: 1px solid var(--line); }
th { font-weight: 600; } td:last-child { overflow-wrap: anywhere; min-width: 11rem; } time, .whole { white-space: nowrap; }
.sign { vertical-align: -.1em; overflow: visible; flex: none; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } details ul { list-style: none; padding-left: .5rem; }
summary { cursor: pointer; }
@media screen and (max-width: 45rem) { thead { position: absolute; left: -9999px; }
  tr { display: block; border-top: 1px solid var(--line); padding: .5rem 0; } th, td { display: block; border: 0; padding: .1rem 0; }
  td::before { content: attr(data-name) ": "; color: var(--quiet); } td:empty { display: none; } }
@media (prefers-reduced-motion: no-preference) { :root { scroll-behavior: smooth; } }
@media print { @page { margin: 15mm; } body { max-width: none; padding: 0; font-size: 9.5pt; } h1 { font-size: 15pt; }
  h2 { break-after: avoid; } fieldset { display: none; } tr, li { break-inside: avoid; } thead { display: table-header-group; }
  svg, .state { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; display: block; height: auto; } }
"""
