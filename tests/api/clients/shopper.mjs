// A shopper in a real browser: node shopper.mjs CHROMIUM PAGE COLLECTOR KEY ANN BEN. Prints what the browser said of errors.
import { chromium } from 'playwright-core'

const [executablePath, shop, collector, key, ann, ben] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
const context = await browser.newContext()
const wrong = []
const asked = []
const page = await context.newPage()
page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()))
page.on('pageerror', (error) => wrong.push(String(error)))
page.on('response', (response) => response.url().startsWith(collector) && asked.push(`${response.status()} ${response.request().method()} ${new URL(response.url()).pathname}`))

const taken = (path) => page.waitForResponse((response) => response.url() === `${collector}${path}` && response.request().method() === 'POST' && response.ok())
const visit = (user) => Promise.all([taken('/v1/p'), taken('/v1/t'), page.goto(`${shop}#${new URLSearchParams({ collector, key, user })}`)])
const click = (button, path) => Promise.all([taken(path), page.click(button)])

await visit(ann)
await click('#add', '/v1/t')
await click('#login', '/v1/i')
await page.click('#logout')
await page.goto('about:blank')
await visit(ben)
await click('#login', '/v1/i')
await page.close()
await browser.close()
console.log(JSON.stringify({ wrong, asked }))
