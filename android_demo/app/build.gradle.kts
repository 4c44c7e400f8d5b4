plugins {
    id("com.android.application")
}

android {
    namespace = "dev.dsaedge.demo"
    compileSdk = 35

    defaultConfig {
        applicationId = "dev.dsaedge.demo"
        minSdk = 26
        targetSdk = 34
        versionCode = 1
        versionName = "0.1.0"
    }
    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
            signingConfig = signingConfigs.getByName("debug") // for trying, not for a store
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    packaging { jniLibs.useLegacyPackaging = false }
}

dependencies {
    implementation(project(":sdk"))
}
