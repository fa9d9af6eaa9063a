"""The style of the data card: light and dark as the reader's machine asks, and plain on paper."""

STYLE = """
:root{color-scheme:light dark;--text:#1c2733;--quiet:#5b6875;--ground:#fff;--panel:#f3f5f7;--rule:#dfe4e9;
--ink:#0b6e99;--base:#c9d2da;--warn:#8a4b00;--warnbg:#fff4e0}
@media (prefers-color-scheme:dark){:root{--text:#e6eaee;--quiet:#9aa7b3;--ground:#12171c;--panel:#1a2129;
--rule:#2b343e;--ink:#3d9dc8;--base:#46525e;--warn:#f2c078;--warnbg:#2a2113}}
*{box-sizing:border-box}
body{font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:var(--text);
background:var(--ground);max-width:64rem;margin:0 auto;padding:3rem 1.5rem 4rem;font-variant-numeric:tabular-nums}
header{border-bottom:2px solid var(--ink);padding-bottom:1.4rem}
.kicker{font-size:.78rem;letter-spacing:.09em;text-transform:uppercase;color:var(--quiet);margin:0}
h1{font-size:2rem;line-height:1.2;margin:.2rem 0 .5rem;font-weight:650;overflow-wrap:anywhere}
h2{font-size:1.2rem;font-weight:650;margin:2.6rem 0 .8rem}
h3{font-size:.95rem;font-weight:600;margin:1.6rem 0 .5rem}
p{margin:.4rem 0}.lead{font-size:1.05rem;color:var(--quiet)}.quiet{color:var(--quiet);font-size:.87rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1rem;margin:1.6rem 0 0}
.figure{background:var(--panel);border-radius:6px;padding:.8rem 1rem}
.figure b{display:block;font-size:1.4rem;white-space:nowrap;font-weight:650;line-height:1.25}
.figure span{color:var(--quiet);font-size:.84rem}
.note{background:var(--warnbg);color:var(--warn);border-radius:6px;padding:.6rem 1rem;margin:1.4rem 0 0}
.note ul{margin:.2rem 0;padding-left:1.1rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.28rem .9rem .28rem 0;vertical-align:middle;border-bottom:1px solid var(--rule)}
th{font-weight:500;font-size:.8rem;color:var(--quiet)}
td.n,th.n{text-align:right;white-space:nowrap}td.v{overflow-wrap:anywhere;
max-width:18rem;min-width:11rem}.beside .bar{min-width:5rem}
tr.lost td{color:var(--warn)}
svg{display:block}.wide{width:100%;height:auto}
.swatch{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-right:.5rem}
.stack{display:flex;height:1.6rem;border-radius:4px;overflow:hidden;margin:.4rem 0 .9rem;background:var(--rule)}
.stack i{display:block;height:100%}
.bar{position:relative;height:.62rem;background:transparent;min-width:9rem}
.bar i{position:absolute;left:0;top:0;height:100%;border-radius:2px}
.bar .b{background:var(--base)}.bar .a{background:var(--ink)}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:0 2.4rem;align-items:start}
.shapes{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1.4rem 2rem}
.shapes figure{margin:0}.shapes figcaption{display:flex;justify-content:space-between;font-size:.9rem}
.shapes .ends{display:flex;justify-content:space-between;font-size:.78rem;color:var(--quiet)}
.key{font-size:.84rem;color:var(--quiet);display:flex;gap:1.4rem;margin:.3rem 0 .9rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.4rem;margin:.4rem 0}
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}
code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
ul{padding-left:1.2rem;margin:.4rem 0}
.k0{background:var(--ink)}.k1{background:#d9791c}.k2{background:#8c6bb1}.k3{background:#009e73}.k4{background:#cc79a7}
.k5{background:#b8a600}.k6{background:#8b98a5}
footer{margin-top:3rem;border-top:1px solid var(--rule);padding-top:1rem;color:var(--quiet);font-size:.84rem}
@media print{:root{color-scheme:light;--text:#000;--quiet:#444;--ground:#fff;--panel:#f3f5f7;--rule:#ccc;--ink:#0b6e99;
--base:#c9d2da;--warn:#7a4300;--warnbg:#fff4e0}
body{padding:0;font-size:10.5pt;max-width:none}h2,h3,.figure,figure,tr{break-inside:avoid}h2,h3{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:16mm}}
"""
