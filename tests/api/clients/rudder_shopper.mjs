// A shopper with RudderStack's browser library: node rudder_shopper.mjs CHROMIUM PAGE COLLECTOR KEY USER. Prints what was asked.
import { chromium } from 'playwright-core'

const [executablePath, shop, collector, key, user] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
const page = await (await browser.newContext()).newPage()
const wrong = []
const asked = []
page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()))
page.on('pageerror', (error) => wrong.push(String(error)))
page.on('response', (response) => response.url().startsWith(collector) && asked.push(`${response.status()} ${response.request().method()} ${new URL(response.url()).pathname}`))
const posted = (path) => page.waitForResponse((response) => new URL(response.url()).pathname.endsWith(path) && response.request().method() === 'POST' && response.ok())

await Promise.all([posted('/v1/page'), page.goto(`${shop}rudder#${new URLSearchParams({ collector, key, user })}`)])
await Promise.all([posted('/v1/track'), page.click('#add')])
await Promise.all([posted('/v1/identify'), page.click('#login')])
await page.goto('about:blank')
await page.goto(`${shop}rudder?beacon#${new URLSearchParams({ collector, key, user })}`)
await page.click('#add')
await new Promise((later) => setTimeout(later, 300))
await page.goto('about:blank')
await new Promise((later) => setTimeout(later, 700))
await browser.close()
console.log(JSON.stringify({ wrong, asked }))
