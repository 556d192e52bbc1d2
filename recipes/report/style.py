"""The page's style sheet: two themes, one column on a phone, tables that scroll by themselves."""

# Okabe and Ito's colours, as in the recipes' plots; the two palest are darker here and all are
# lighter in the dark theme, so that each keeps a contrast of 3 to 1 against its background.
CSS = """
:root { color-scheme: light dark;
  --back: #f6f7f9; --card: #ffffff; --ink: #1c2128; --soft: #59636e; --rule: #dfe3e8;
  --grid: #e6e9ed; --link: #0b63a5; --accent: #0072b2;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #c2639b; --c4: #b57d00; --c5: #3a93c6;
  --c6: #1c2128; }
@media (prefers-color-scheme: dark) { :root {
  --back: #111418; --card: #191e24; --ink: #e4e8ed; --soft: #9aa5b1; --rule: #303842;
  --grid: #2a313a; --link: #79bdf0; --accent: #56b4e9;
  --c0: #4ea9ec; --c1: #f2803a; --c2: #2cc295; --c3: #e391c2; --c4: #e9b23c; --c5: #a3d5f7;
  --c6: #e4e8ed; }
  img { filter: invert(0.9) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 1320px; background: var(--back);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p { margin: .4rem 0 .8rem; max-width: 52rem; }
.soft, small { color: var(--soft); font-size: .86rem; font-weight: 400; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .7rem 0 0; font-size: .92rem; }
code, pre { font: .86em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { overflow: auto; padding: .8rem 1rem; margin: .6rem 0; background: var(--card);
  border: 1px solid var(--rule); border-radius: 8px; max-height: 28rem; }
ul { margin: .4rem 0 .9rem; padding-left: 1.2rem; max-width: 60rem; }
.charts { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill,
  minmax(min(100%, 25rem), 1fr)); }
figure { margin: 0; padding: .8rem .8rem .4rem; background: var(--card);
  border: 1px solid var(--rule); border-radius: 8px; min-width: 0; }
figure.wide { overflow-x: auto; padding: .8rem; margin-bottom: .9rem; }
figcaption { font-weight: 600; font-size: .95rem; margin: 0 .2rem .35rem; }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font: 12px system-ui, -apple-system, "Segoe UI", sans-serif;
  font-variant-numeric: tabular-nums; }
.grid, .axis, .baseline { fill: none; stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-opacity: .6; }
.baseline { stroke: var(--soft); stroke-dasharray: 2 3; }
.line, .pale { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
.pale { stroke-width: 1.2; stroke-opacity: .42; }
.dots { fill: var(--c); fill-opacity: .85; }
img { display: block; width: 100%; height: auto; border-radius: 6px; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin: .2rem 0 .7rem; padding: 0;
  border: 0; font-size: .9rem; }
.legend label, .legend span { display: inline-flex; align-items: center; gap: .4rem;
  min-height: 1.8rem; max-width: 100%; overflow-wrap: anywhere; }
.legend label { cursor: pointer; }
figure .legend { font-size: .82rem; gap: 0 .8rem; margin: 0 .2rem .2rem; }
figure .legend span { min-height: 1.35rem; }
.legend input { accent-color: var(--accent); width: 1rem; height: 1rem; margin: 0; }
.swatch { width: 30px; height: 12px; flex: none; }
td .swatch { margin-right: .45rem; vertical-align: middle; }
.box { overflow: auto; max-height: 36rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; margin: .5rem 0 1rem; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .88rem;
  line-height: 21px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
.word { text-align: left; }
.long { text-align: left; white-space: normal; min-width: 15rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--card); }
thead th { position: sticky; top: 0; background: var(--card); z-index: 1; }
thead th:first-child { z-index: 2; }
@media (max-width: 600px) { body { padding: 1rem .7rem 3rem; } figure.wide img { width: 42rem;
    max-width: none; } th, td { padding: 6px 9px; }
  th:first-child, td:first-child { min-width: 8.2rem; white-space: normal;
    overflow-wrap: anywhere; } }
details { margin: .5rem 0; }
summary { cursor: pointer; padding: .25rem 0; }
@media print { body { max-width: none; background: none; } figure { break-inside: avoid; } }
"""
