//! How the page that lists a directory looks.

/// Its style sheet.
pub(super) const STYLE: &str = ":root{color-scheme:light dark;--text:#1c2024;--dim:#60646c;--line:#e4e7eb;--page:#fff;--hover:#f3f6fa;--link:#0b57d0}\
@media(prefers-color-scheme:dark){:root{--text:#e6e8eb;--dim:#9ba1a8;--line:#2b3036;--page:#16181b;--hover:#1f2327;--link:#8ab4f8}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;-webkit-text-size-adjust:100%}\
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 3rem}\
h1{margin:0 0 1.25rem;font-size:1.3rem;font-weight:600;overflow-wrap:anywhere}\
h1 a:first-child,h1 span{color:var(--dim);margin-right:.15em}\
h1 span{margin-left:.15em}\
a{color:var(--link);text-decoration:none}\
a:hover{text-decoration:underline}\
a:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:3px}\
table{width:100%;border-collapse:collapse}\
th,td{padding:0 .75rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:middle}\
th{padding-top:.4rem;padding-bottom:.4rem;font-size:.85rem;font-weight:600;white-space:nowrap}\
th a{color:var(--dim)}\
th[aria-sort=ascending] a::after{content:' \\2191'}\
th[aria-sort=descending] a::after{content:' \\2193'}\
td:first-child,th:first-child{width:100%;padding-left:.5rem}\
td:first-child a{display:flex;align-items:center;gap:.6rem;padding:.5rem 0;overflow-wrap:anywhere}\
th:nth-child(2),td:nth-child(2){text-align:right}\
td:nth-child(n+2){color:var(--dim);font-size:.9rem;white-space:nowrap;font-variant-numeric:tabular-nums}\
time i{font-style:normal}\
tbody tr:hover{background:var(--hover)}\
svg{flex:none;width:1.15rem;height:1.15rem;fill:none;stroke:var(--dim);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}\
p{color:var(--dim);font-size:.9rem;margin:1rem .5rem 0}\
@media(max-width:36rem){main{padding:1.1rem .5rem 2rem}h1{padding:0 .5rem}th,td{padding-left:.4rem;padding-right:.4rem}td:first-child a{padding:.7rem 0}time i{display:none}}";

/// Its icons: a directory, a file, the way up.
pub(super) const ICONS: &str = "<svg hidden style=\"display:none\">\
<symbol id=\"d\" viewBox=\"0 0 24 24\"><path d=\"M3 6a2 2 0 0 1 2-2h4l2 3h8a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z\"/></symbol>\
<symbol id=\"f\" viewBox=\"0 0 24 24\"><path d=\"M6 3h8l5 5v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zm8 0v5h5\"/></symbol>\
<symbol id=\"u\" viewBox=\"0 0 24 24\"><path d=\"M12 20V5m-6 6 6-6 6 6\"/></symbol></svg>";
